"""Windows of a recording: without a seam wherever the frames are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from partranscribe.windows import Array, Features, WindowCutter, windows
from test_model import build, random_mel

Rows = NDArray[np.float32]


def cutter(margin: int) -> WindowCutter:
    return WindowCutter(margin, np.concatenate)


def pieces(mel: Array, sizes: Sequence[int]) -> Iterator[Array]:
    """Frames (frames, mels) cut to pieces of these sizes over and over."""
    begin = 0
    for size in cycle(sizes):
        if begin >= len(mel):
            return
        yield mel[begin : begin + size]
        begin += size


@pytest.mark.parametrize("widths", [(3,) * 6, (1,) * 6, (3, 1, 3, 1, 1, 1)])
@pytest.mark.parametrize("frames", [1, 2, 6, 7, 13, 40, 64])
@pytest.mark.parametrize("sizes", [[1], [5], [16], [64], [1, 20, 3]])
def test_features_of_windows_are_those_of_the_whole(
    widths: tuple[int, ...], frames: int, sizes: list[int]
) -> None:
    model, mel = build(time_widths=widths), random_mel(frames=frames)
    cut = windows(pieces(mel[0].numpy(), sizes), cutter(model.config.margin_frames))
    with torch.inference_mode():
        expected = model.features(mel)
        parts = [(model.features(torch.from_numpy(part.mel)[None]), part.inside) for part in cut]
    found = Features(*(torch.cat([one[at][:, inside] for one, inside in parts], dim=1) for at in (0, 1)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_windows_wait_for_their_margin_alone() -> None:
    mel = random_mel(frames=20)[0].numpy()
    given: list[int] = []
    asked = 0

    def frames() -> Iterator[Rows]:
        nonlocal asked
        for asked in range(1, 21):
            yield mel[asked - 1 : asked]

    for window in windows(frames(), cutter(2)):
        given.append(window.inside.stop - window.inside.start)
        assert asked == min(sum(given) + 2, 20)
    assert given == [1] * 18 + [2]


def test_every_frame_is_in_one_window_with_its_margin() -> None:
    mel = np.arange(50.0)[:, None]
    parts = list(windows(pieces(mel, [7, 1, 12]), cutter(3)))
    np.testing.assert_array_equal(np.concatenate([window.mel[window.inside] for window in parts]), mel)
    for window in parts:
        wanted = window.mel[window.inside]
        before = max(float(wanted[0, 0]) - 3, 0)
        after = min(float(wanted[-1, 0]) + 3, 49)
        assert window.mel[0, 0] <= before
        assert window.mel[-1, 0] == after


def test_what_is_cut_ends_once() -> None:
    cut = cutter(2)
    assert cut.push(np.zeros((2, 1))) is None
    last = cut.finish()
    assert last is not None
    assert last.inside == slice(0, 2)
    assert cut.finish() is None
