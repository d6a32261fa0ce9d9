"""Give a reader inputs that its coverage guides, until it fails or as many as were asked for.

    pip install atheris                                # Linux and macOS, CPython 3.11 to 3.13
    python tests/fuzz/fuzz.py midi -runs=100000        # the readers are those of tests/readers.py

What follows the name goes to libFuzzer. It starts from seeds/READER and found/READER, and keeps what reaches
new code in cache/fuzz/READER. An input that fails is written to found/READER, where tests/test_fuzz.py reads
it from then on. Libraries written in C guide nothing, but whatever they do counts.
"""

from __future__ import annotations

import json
import math
import random
import resource
import sys
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import atheris

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["partranscribe", "pretty_midi", "mido", "csv", "soundfile"]):
    import pretty_midi  # noqa: F401 - here, or the reader would load it as it is

    from readers import READERS

MEGABYTES = 400  # by which one input may raise the peak of memory; libFuzzer looks once a second only
ODD: list[Any] = [
    *(0, -1, 1, 2, 7, 255, 4096, 2**20, 2**31, 2**62, 10**400),
    *(0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf, None, True),
    *("", "1", "par", "full", "state", [], [1], [3] * 6, {}, "[" * 2000, "{}", "[]", "\ud800"),
    *("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64", "I64", "U16", "U64", "BOOL"),
]
LIMITS = ("-timeout=10", "-rss_limit_mb=3000", "-max_len=65536")


def peak() -> float:
    """Most megabytes that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)


def mutated_checkpoint(data: bytes, max_size: int, seed: int) -> bytes:
    """Change the bytes, or the header of safetensors: its text, or values in it, with lengths that fit."""
    chance = random.Random(seed)
    end = 8 + int.from_bytes(data[:8], "little")
    header, rest = data[8:end], data[end:]
    if end > len(data) or not chance.randrange(4):
        return bytes(atheris.Mutate(data, max_size))
    if chance.randrange(4):
        with suppress(ValueError, RecursionError):
            header = json.dumps(odd(json.loads(header), chance)).encode()
    else:
        header = bytes(atheris.Mutate(header, max(1, max_size - 8 - len(rest))))
    whole = len(header).to_bytes(8, "little") + header + rest
    return whole if len(whole) <= max_size else data


def odd(value: Any, chance: random.Random) -> Any:
    """JSON of which one value is another; a text may be JSON in turn."""
    if isinstance(value, dict) and value:
        name = chance.choice([*value])
        return {**value, name: odd(value[name], chance)}
    if isinstance(value, list) and value and chance.randrange(4):
        at = chance.randrange(len(value))
        return [*value[:at], odd(value[at], chance), *value[at + 1 :]]
    if isinstance(value, str) and value[:1] in ("{", "[") and chance.randrange(8):
        with suppress(ValueError, RecursionError):
            return json.dumps(odd(json.loads(value), chance))
    return chance.choice(ODD)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(READERS)} [options of libFuzzer]")
    name, options = sys.argv[1], sys.argv[2:]
    reader = READERS[name]
    kept = HERE.parents[1] / "cache" / "fuzz" / name
    folders = [kept, HERE / "seeds" / name, HERE / "found" / name]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        path = Path(temporary) / f"a{reader.suffix}"
        for seed in folders[1].iterdir():  # what is loaded once counts for no input
            path.write_bytes(seed.read_bytes())
            reader.check(path)

        def check(data: bytes) -> None:
            before = peak()
            path.write_bytes(data)
            try:
                reader.check(path)
                assert peak() < before + MEGABYTES, f"{peak() - before:.0f} MB for {len(data)} bytes"
            except Exception:  # libFuzzer sometimes ends too soon to do this
                (folders[2] / f"failed-{sha256(data).hexdigest()[:12]}").write_bytes(data)
                raise

        mutator = {"custom_mutator": mutated_checkpoint} if name == "checkpoint" else {}
        found = f"-artifact_prefix={folders[2]}/"
        atheris.Setup([sys.argv[0], *LIMITS, found, *options, *map(str, folders)], check, **mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
