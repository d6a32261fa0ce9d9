"""Other transcribers, each run by the Python of its own environment.

`PYTHON peers.py NAME AUDIO... -o FOLDER` makes a MIDI file of each recording, with the settings of the peer's
own command; the model is loaded once. This file imports the standard library and the peer, nothing else.
Environments that were tested, on Python 3.11:

```sh
python3.11 -m venv transkun
transkun/bin/pip install torch==2.13.0 transkun==2.0.1 'setuptools<80'
rm transkun/lib/python3.11/site-packages/torchaudio/lib/*.so

python3.11 -m venv basic-pitch
basic-pitch/bin/pip install --no-deps basic-pitch==0.4.0
basic-pitch/bin/pip install onnxruntime librosa mir_eval pretty_midi 'resampy<0.4.3' scipy 'setuptools<80'
```

Transkun needs torchaudio for its mel filters alone; the compiled part, removed here, only loads with the one
PyTorch that it was built for. Without FFmpeg Transkun reads WAV and nothing else. Basic-pitch asks for an old
TensorFlow that does not install; where onnxruntime is all there is, it takes the same network as ONNX.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Transcribe = Callable[[Path, Path], None]


def transkun() -> Transcribe:
    """What the command `transkun` does, on the CPU."""
    import moduleconf  # type: ignore[import-not-found]
    import soxr
    import torch
    from transkun import pretrained  # type: ignore[import-not-found]
    from transkun.Data import writeMidi  # type: ignore[import-not-found]
    from transkun.transcribe import readAudio  # type: ignore[import-not-found]

    folder = Path(pretrained.__file__).parent
    settings = moduleconf.parseFromFile(str(folder / "2.0.conf"))["Model"]
    model = settings.module.TransKun(conf=settings.config)
    checkpoint = torch.load(folder / "2.0.pt", map_location="cpu")
    model.load_state_dict(checkpoint.get("best_state_dict", checkpoint["state_dict"]), strict=False)
    model.eval()
    torch.set_grad_enabled(False)

    def transcribe(source: Path, target: Path) -> None:
        rate, audio = readAudio(str(source))  # audio: (samples, channels)
        audio = soxr.resample(audio, rate, model.fs)
        writeMidi(model.transcribe(torch.from_numpy(audio))).write(str(target))

    return transcribe


def basic_pitch() -> Transcribe:
    """What the command `basic-pitch --save-midi` does."""
    from basic_pitch import ICASSP_2022_MODEL_PATH  # type: ignore[import-not-found]
    from basic_pitch.inference import Model, predict  # type: ignore[import-not-found]

    model = Model(ICASSP_2022_MODEL_PATH)

    def transcribe(source: Path, target: Path) -> None:
        _, midi, _ = predict(source, model)
        midi.write(str(target))

    return transcribe


PEERS = {"transkun": transkun, "basic-pitch": basic_pitch}  # by the name of the package


def main() -> None:
    """Transcribe recordings with one peer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("sources", type=Path, nargs="+", metavar="AUDIO")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    transcribe = PEERS[arguments.peer]()
    for source in arguments.sources:
        transcribe(source, arguments.output / f"{source.stem}.mid")


if __name__ == "__main__":
    main()
