"""Frames to notes, the context that one frame leaves to the next, and the loop over frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from conftest import TINY, decode, decode_batch, states, swelling_noise
from partranscribe.config import DOUBTFUL, DecodeConfig, settings_from_dict
from partranscribe.frames import Frames, NoteCollector
from partranscribe.model import LastFrame, Par
from partranscribe.notes import (
    LOWEST_PITCH,
    NOTE_STATES,
    OFF,
    OFFSET,
    ONSET,
    PITCHES,
    REONSET,
    SUSTAIN,
    Note,
    in_order,
)
from partranscribe.torch_decode import DecoderState, advance, initial_state
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.training.labels import FrameLabels, context_labels
from partranscribe.windows import Features

SECOND = 1.0  # a frame a second, so that frames can be read off the times
MIDDLE_C = 60


def frames_of(*rows: tuple[int, str]) -> Frames:
    """Frames with the states of some pitches, spelled as in `states`; velocity and confidence rise."""
    length = max(len(row) for _, row in rows)
    state = np.zeros((length, PITCHES), np.int8)
    for pitch, row in rows:
        state[: len(row), pitch - LOWEST_PITCH] = states(row)
    rising = np.zeros((length, PITCHES), np.float32)
    rising += np.arange(1, length + 1)[:, None] / 127
    return Frames(state, rising, rising / np.float32(2), rising / np.float32(3))


def notes_of(frames: Frames, settings: DecodeConfig | None = None) -> list[Note]:
    collector = NoteCollector(SECOND, settings)
    return [*collector.push(frames), *collector.finish()]


def cut(frames: Frames, size: int) -> Iterator[Frames]:
    for begin in range(0, len(frames.state), size):
        here = slice(begin, begin + size)
        yield frames.part(here)


def random_frames(seed: int, frames: int = 400) -> Frames:
    rng = np.random.default_rng(seed)
    state = rng.choice(NOTE_STATES, (frames, PITCHES), p=(0.2, 0.1, 0.1, 0.5, 0.1)).astype(np.int8)
    return Frames(state, *rng.random((3, frames, PITCHES), np.float32))


@pytest.fixture(scope="module")
def features(lively: Par) -> Features:
    """Acoustic features of 3 s that the lively network hears notes in."""
    mel = TorchLogMel(TINY.front_end)(torch.from_numpy(swelling_noise(11, 48_000)))
    with torch.inference_mode():
        return lively.features(mel.unsqueeze(0))


@pytest.mark.parametrize(
    ("row", "spans"),
    [
        ("..O===x...", [(2, 6)]),
        ("..O===....", [(2, 6)]),  # the offset state may be missed
        ("..Ox......", [(2, 3)]),
        ("..O.......", [(2, 3)]),
        (".........O", [(9, 10)]),
        ("O=========", [(0, 10)]),  # still sounding at the end: it ends with the recording
        ("..O==R==x.", [(2, 5), (5, 8)]),
        ("..OR......", [(2, 3), (3, 4)]),
        ("..O==O==x.", [(2, 5), (5, 8)]),  # an onset within a note restarts it as well
        ("..R==x....", [(2, 5)]),
        ("..O==xO=..", [(2, 5), (6, 8)]),
        ("..O==x==x.", [(2, 5)]),  # sustain without an onset is no note
        ("..====x...", []),
        ("==========", []),
        ("xxxxxxxxxx", []),
        ("..........", []),
        ("===O==x==R", [(3, 6), (9, 10)]),
    ],
)
def test_states_become_notes(row: str, spans: list[tuple[int, int]]) -> None:
    notes = notes_of(frames_of((MIDDLE_C, row)))
    assert [(note.onset, note.offset) for note in notes] == spans
    assert all(note.pitch == MIDDLE_C for note in notes)


def test_velocity_and_confidence_are_those_of_the_frame_where_the_note_begins() -> None:
    first, second = notes_of(frames_of((MIDDLE_C, "..O==R==x.")))
    assert (first.velocity, second.velocity) == (3, 6)
    assert (first.confidence, second.confidence) == pytest.approx((3 / 254, 6 / 254))


@pytest.mark.parametrize(("value", "velocity"), [(-0.1, 1), (0.0, 1), (0.5, 64), (1.0, 127), (1.5, 127)])
def test_velocities_stay_within_midi(value: float, velocity: int) -> None:
    frames = frames_of((MIDDLE_C, "O="))
    assert notes_of(frames._replace(velocity=np.full_like(frames.velocity, value)))[0].velocity == velocity


def test_pitches_do_not_disturb_each_other() -> None:
    notes = notes_of(frames_of((21, "O===x"), (60, ".O=R="), (108, "..O")))
    found = sorted((note.pitch, note.onset, note.offset) for note in notes)
    assert found == [(21, 0, 4), (60, 1, 3), (60, 3, 5), (108, 2, 3)]


def test_notes_come_out_as_soon_as_they_end() -> None:
    collector = NoteCollector(SECOND)
    assert collector.push(frames_of((MIDDLE_C, ".O="))) == []
    assert [note.offset for note in collector.push(frames_of((MIDDLE_C, "==x")))] == [5]
    assert collector.finish() == []


def test_times_are_frames_times_their_length_and_shifts_are_added() -> None:
    settings = DecodeConfig(onset_shift=-0.010, offset_shift=0.005)
    collector = NoteCollector(0.032, settings)
    (note,) = collector.push(frames_of((MIDDLE_C, "...O====x")))
    assert note.onset == pytest.approx(3 * 0.032 - 0.010)
    assert note.offset == pytest.approx(8 * 0.032 + 0.005)


@pytest.mark.parametrize(("row", "shift"), [("O=x", -0.5), ("Ox", -0.5), ("..Ox", 1.5)])
def test_shifts_leave_notes_possible(row: str, shift: float) -> None:
    for settings in (DecodeConfig(onset_shift=shift), DecodeConfig(offset_shift=-shift * 5)):
        for note in notes_of(frames_of((MIDDLE_C, row)), settings):
            assert 0 <= note.onset <= note.offset


@pytest.mark.parametrize(
    ("row", "beginning", "ending", "span"),
    [
        # halfway between two frames, each of which may be the one that was decided on
        ("..O==x", (0, 0, 0.5, 0, 0, 0), (1, 1, 0, 0, 0, 0.5), (2.5, 5.5)),
        ("..O==x", (0, 0.5, 1, 0, 0, 0), (1, 0, 0, 0, 0.5, 1), (1.5, 4.5)),
        # sure
        ("..O==x", (0, 0, 1, 0, 0, 0), (1, 1, 0, 0, 0, 1), (2, 5)),
        # by hand: 0.75 * 0.4 - 0.25, and 0.9 * 0.2 - 0.1
        ("..O==x", (0, 0.25, 0.6, 0, 0, 0), (1, 0, 0, 0, 0.1, 0.8), (2.05, 5.08)),
        # what the frame of an onset thinks of an end is about silence, not about this note
        ("..Ox..", (0, 0, 1, 0, 0, 0), (1, 1, 0.9, 0.7, 0, 0), (2, 3.3)),
        # an onset on the first frame, and an end that is never decoded
        ("O====", (0.8, 0, 0, 0, 0), (0, 0, 0, 0.3, 0.4), (0.2, 5)),
    ],
)
def test_times_between_frames_are_where_the_probabilities_expect_them(
    row: str, beginning: tuple[float, ...], ending: tuple[float, ...], span: tuple[float, float]
) -> None:
    frames = frames_of((MIDDLE_C, row))
    for part, values in ((frames.confidence, beginning), (frames.ending, ending)):
        part[:] = np.array(values)[:, None]
    (note,) = notes_of(frames, DecodeConfig(between_frames=True))
    assert (note.onset, note.offset) == pytest.approx(span)
    (on_frames,) = notes_of(frames)
    assert (on_frames.onset, on_frames.offset) == (row.index("O"), row.index("x") if "x" in row else len(row))


def test_a_key_that_is_struck_again_ends_its_note_where_the_next_begins() -> None:
    frames = frames_of((MIDDLE_C, "O==OR==x"))
    frames.confidence[:] = np.array((1, 0, 0.4, 0.5, 0.75, 0, 0, 0))[:, None]
    frames.ending[:] = np.array((0, 0, 0.9, 0.9, 0.9, 0, 0, 1))[:, None]
    spans = [(note.onset, note.offset) for note in notes_of(frames, DecodeConfig(between_frames=True))]
    # 0.6 * 0.5 - 0.4 of a frame; and the frame before the last onset began a note of its own
    assert np.array(spans) == pytest.approx(np.array([(0, 2.9), (2.9, 4.25), (4.25, 7)]))


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7, 128, 399])
def test_notes_do_not_depend_on_where_the_frames_are_cut(size: int, between: bool) -> None:
    frames, settings = random_frames(1), DecodeConfig(between_frames=between)
    collector = NoteCollector(0.032, settings)
    pieces = [note for piece in cut(frames, size) for note in collector.push(piece)]
    pieces += collector.finish()
    whole = NoteCollector(0.032, settings)
    expected = [*whole.push(frames), *whole.finish()]
    assert len(expected) > 1000
    assert in_order(pieces) == in_order(expected)


def test_no_frames_change_nothing() -> None:
    collector = NoteCollector(SECOND)
    collector.push(frames_of((MIDDLE_C, "O=")))
    assert collector.push(random_frames(0, frames=0)) == []
    assert [(note.onset, note.offset) for note in collector.finish()] == [(0, 2)]


def test_notes_between_frames_last_and_keep_their_order() -> None:
    notes = notes_of(random_frames(4), DecodeConfig(between_frames=True))
    assert len(notes) > 1000
    for pitch in range(LOWEST_PITCH, LOWEST_PITCH + PITCHES):
        times = [(note.onset, note.offset) for note in notes if note.pitch == pitch]
        assert all(onset < offset for onset, offset in times)
        assert all(earlier < later for (earlier, _), (later, _) in pairwise(times))


def test_a_plain_walk_over_random_frames_finds_the_same_notes() -> None:
    frames = random_frames(2)
    expected = []
    for pitch in range(PITCHES):
        begun: int | None = None
        for frame, state in enumerate([*frames.state[:, pitch].tolist(), OFF]):
            if begun is not None and state != SUSTAIN:
                expected.append((float(begun), float(frame), pitch + LOWEST_PITCH))
                begun = None
            if state in (ONSET, REONSET):
                begun = frame
    found = [(note.onset, note.offset, note.pitch) for note in notes_of(frames)]
    assert sorted(found) == sorted(expected)


def contexts(frames: Frames, max_duration: int) -> list[LastFrame]:
    """What `advance` leaves to each frame, from silence on."""
    zeros = torch.zeros(1, 1, PITCHES)
    last = LastFrame(zeros.long(), zeros, zeros)
    left = []
    for state, velocity in zip(frames.state, frames.velocity, strict=True):
        left.append(last)
        last = advance(
            last,
            torch.from_numpy(state).long()[None, None],
            torch.from_numpy(velocity)[None, None],
            max_duration,
        )
    return left


def test_context_counts_from_the_onset_and_ends_with_the_note() -> None:
    frames = frames_of((MIDDLE_C, ".O===x=.R=O=."))
    left = contexts(frames, 100)
    key = MIDDLE_C - LOWEST_PITCH
    durations = [round(100 * float(last.duration[0, 0, key])) for last in left]
    velocities = [round(127 * float(last.velocity[0, 0, key])) for last in left]
    # The first frame gets silence, and every other one what the frame before it was.
    assert durations == [0, 0, 1, 2, 3, 4, 0, 0, 0, 1, 2, 1, 2]
    assert velocities == [0, 0, 2, 2, 2, 2, 0, 0, 0, 9, 9, 11, 11]
    assert [int(last.state[0, 0, key]) for last in left] == [0, *frames.state[:-1, key].tolist()]


def test_the_duration_is_cut_at_157_frames() -> None:
    frames = frames_of((MIDDLE_C, "O" + "=" * 200))
    durations = [float(last.duration[0, 0, MIDDLE_C - LOWEST_PITCH]) for last in contexts(frames, 157)]
    np.testing.assert_allclose(durations[1:], np.minimum(np.arange(1, 201), 157) / 157, atol=1e-5)
    assert max(durations) <= 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_duration", [157, 20, 1])
def test_training_and_decoding_agree_on_the_context(seed: int, max_duration: int) -> None:
    frames = random_frames(seed, 300)
    # Long notes too: some pitches only sustain after their onset, beyond 157 frames.
    frames.state[40:, ::4] = SUSTAIN
    frames.state[40, ::8] = ONSET
    labels = context_labels(FrameLabels(frames.state, frames.velocity), max_duration)
    left = contexts(frames, max_duration)
    np.testing.assert_array_equal(labels.state, np.concatenate([last.state[0] for last in left]))
    for trained, decoded in ((labels.duration, "duration"), (labels.velocity, "velocity")):
        expected = np.concatenate([getattr(last, decoded)[0] for last in left])
        np.testing.assert_allclose(trained, expected, atol=1e-5)


def test_decoding_starts_from_silence(lively: Par) -> None:
    state = initial_state(lively)
    for part in state.last:
        assert part.shape == (1, 1, PITCHES)
        assert not part.any()
    assert state.last.state.dtype == torch.long


def test_decoding_feeds_each_frame_what_it_decoded_before(lively: Par, features: Features) -> None:
    frames, _ = decode(lively, features, initial_state(lively), with_probabilities=True)
    assert {*np.unique(frames.state)} == set(range(NOTE_STATES))
    last = LastFrame(*(torch.cat(parts, dim=1) for parts in zip(*contexts(frames, 157), strict=True)))
    prediction, _ = lively.step(features, last, lively.initial_state())
    probabilities = prediction.states[0].softmax(dim=-1).numpy()
    chosen = np.take_along_axis(probabilities, frames.state[..., None].astype(int), axis=-1)[..., 0]
    assert (probabilities.max(axis=-1) - chosen).max() < 1e-4
    begins = probabilities[..., ONSET] + probabilities[..., REONSET]
    np.testing.assert_allclose(frames.confidence, begins, atol=1e-4)
    ends = probabilities[..., OFF] + probabilities[..., OFFSET]
    np.testing.assert_allclose(frames.ending, ends, atol=1e-4)
    np.testing.assert_allclose(frames.velocity, prediction.velocity[0].clamp(0, 1).numpy(), atol=1e-4)
    assert frames.probabilities is not None
    np.testing.assert_allclose(frames.probabilities, probabilities, atol=1e-4)


def test_probabilities_are_handed_over_on_request_and_change_nothing(lively: Par, features: Features) -> None:
    settings = DecodeConfig(onset_bias=0.5, offset_bias=0.5)
    usual, _ = decode(lively, features, initial_state(lively), settings)
    asked, _ = decode(lively, features, initial_state(lively), settings, with_probabilities=True)
    assert usual.probabilities is None
    for part, expected in zip(asked[:4], usual[:4], strict=True):
        np.testing.assert_array_equal(part, expected)
    probabilities = asked.part(slice(5)).probabilities
    assert probabilities is not None
    begins = probabilities[..., ONSET] + probabilities[..., REONSET]
    np.testing.assert_array_equal(begins, asked.confidence[:5])


@pytest.mark.parametrize("size", [1, 3, 40, 93])
def test_decoding_in_pieces_is_decoding_at_once(lively: Par, features: Features, size: int) -> None:
    whole, whole_state = decode(lively, features, initial_state(lively), with_probabilities=True)
    pieces: list[Frames] = []
    state = initial_state(lively)
    for begin in range(0, features.note.shape[1], size):
        here = slice(begin, begin + size)
        part = Features(*(each[:, here] for each in features))
        frames, state = decode(lively, part, state, with_probabilities=True)
        pieces.append(frames)
    for parts, expected in zip(zip(*pieces, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    for one, other in zip(tensors_of(state), tensors_of(whole_state), strict=True):
        assert torch.equal(one, other)


def tensors_of(state: DecoderState) -> list[torch.Tensor]:
    return [*state.lstm.note, *state.lstm.velocity, *state.last]


def test_without_settings_there_is_no_bias(lively: Par, features: Features) -> None:
    plain, _ = decode(lively, features, initial_state(lively))
    unbiased, _ = decode(lively, features, initial_state(lively), DecodeConfig())
    for one, other in zip(plain, unbiased, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "states_moved"),
    [("onset_bias", {ONSET}), ("reonset_bias", {REONSET})],
)
def test_a_bias_decides_its_states(
    lively: Par, features: Features, name: str, states_moved: set[int]
) -> None:
    towards, away = (settings_from_dict(DecodeConfig, {name: bias}) for bias in (1e4, -1e4))
    favoured, _ = decode(lively, features, initial_state(lively), towards)
    assert {*np.unique(favoured.state)} <= states_moved
    avoided, _ = decode(lively, features, initial_state(lively), away)
    assert not {*np.unique(avoided.state)} & states_moved


def test_an_offset_bias_ends_what_sounds_and_leaves_silence_alone(lively: Par, features: Features) -> None:
    first = Features(features.note[:, :40], features.velocity[:, :40])
    plain, _ = decode(lively, first, initial_state(lively), DecodeConfig())
    ended, _ = decode(lively, first, initial_state(lively), DecodeConfig(offset_bias=1e4))
    begins = np.isin(ended.state, (ONSET, REONSET))
    assert begins.sum() > 3
    assert np.isin(ended.state[1:][begins[:-1]], (OFF, OFFSET)).all()  # a note lasts one frame
    np.testing.assert_array_equal(ended.state[0], plain.state[0])
    held, _ = decode(lively, first, initial_state(lively), DecodeConfig(offset_bias=-1e4))
    sounds = np.cumsum(np.isin(held.state, (ONSET, REONSET)), axis=0) > 0
    assert not np.isin(held.state[sounds], (OFF, OFFSET)).any()


def test_a_lower_onset_bias_gives_fewer_onsets(lively: Par, features: Features) -> None:
    first = Features(*(part[:, :1] for part in features))  # one frame: no context to confuse the count
    counts, confidences = [], []
    for bias in range(-50, 51, 5):
        frames, _ = decode(lively, first, initial_state(lively), DecodeConfig(onset_bias=float(bias)))
        counts.append(int((frames.state == ONSET).sum()))
        confidences.append(float(frames.confidence.mean()))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, PITCHES)
    assert len(set(counts)) > 2
    assert confidences == sorted(confidences)


def test_a_note_is_not_struck_again_before_its_time(lively: Par, features: Features) -> None:
    eager = DecodeConfig(reonset_bias=50.0)  # re-onsets always
    for frames in (1, 2, 5):
        found, _ = decode(lively, features, initial_state(lively), replace(eager, restrike_frames=frames))
        begins = np.isin(found.state, (ONSET, REONSET))
        expected = np.arange(len(begins)) % frames == 0
        np.testing.assert_array_equal(begins, np.broadcast_to(expected[:, None], begins.shape))
        assert set(np.unique(found.state[~begins])) <= {SUSTAIN}


def test_doubtful_onsets_are_decided_on_where_ghosts_are_left_out(lively: Par, features: Features) -> None:
    ghosts, plain = (
        DecodeConfig(onset_bias=-0.5, reonset_bias=-0.25, drop_ghosts=drop) for drop in (True, False)
    )
    higher = DecodeConfig(onset_bias=-0.5 + DOUBTFUL, reonset_bias=-0.25 + DOUBTFUL)
    found, same, other = (
        decode(lively, features, initial_state(lively), settings)[0] for settings in (ghosts, higher, plain)
    )
    np.testing.assert_array_equal(found.state, same.state)
    assert (found.state != other.state).any()


def test_pieces_side_by_side_are_decoded_as_each_by_itself(lively: Par, features: Features) -> None:
    length = features.note.shape[1]
    turned = Features(*(part.roll(length // 2, dims=1) for part in features))
    both = Features(*(torch.cat(parts) for parts in zip(features, turned, strict=True)))
    settings = DecodeConfig(onset_bias=0.3, restrike_frames=2)
    found, _ = decode_batch(lively, both, initial_state(lively, 2), settings)
    for frames, alone in zip(found, (features, turned), strict=True):
        expected, _ = decode(lively, alone, initial_state(lively), settings)
        assert np.mean(expected.state != OFF) > 0.01
        np.testing.assert_array_equal(frames.state, expected.state)
        np.testing.assert_allclose(frames.velocity, expected.velocity, atol=1e-5)
        np.testing.assert_allclose(frames.confidence, expected.confidence, atol=1e-5)
