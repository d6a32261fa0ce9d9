"""Excerpts sound as their labels say, pedal and all, and performances vary as they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from partranscribe.note_array import note_array
from partranscribe.note_io import extend_by_pedal, without_overlaps
from partranscribe.notes import Note, in_order
from partranscribe.sampler import Instrument, SamplerSettings
from partranscribe.training.synthesis import (
    NO_PEDAL,
    Performance,
    half_pedalled,
    load_performance,
    pedal_held,
    pedalled,
    render_excerpt,
    sounding,
    vary,
    vary_instrument,
)
from synth import sampled_piano
from test_sampler import NEAR, RATE, loudness, notes_of, play, strongest


@pytest.fixture(scope="module")
def piano(tmp_path_factory: pytest.TempPathFactory) -> Instrument:
    return sampled_piano(tmp_path_factory.mktemp("piano"), RATE)


def test_pedal_holds_the_sound_as_long_as_the_label(piano: Instrument) -> None:
    pedal = np.array([(0.3, 100.0), (1.2, 10.0)])
    performance = Performance(notes_of((0.2, 0.5, 60, 90), (1.3, 1.4, 62, 90)), pedal)
    audio, notes = render_excerpt(performance, piano, 0.0, 2 * RATE, NEAR)
    assert notes[:, 1].tolist() == [1.2, 1.4]
    held = play(piano, notes, 2)
    np.testing.assert_array_equal(audio[: round(1.2 * RATE)], held[: round(1.2 * RATE)])
    assert loudness(audio, 1.1, 1.2) > -60


def test_free_strings_are_heard_while_the_pedal_is_down(piano: Instrument) -> None:
    strings = np.zeros(RATE, np.float32)
    strings[RATE // 2] = 0.1  # an echo
    performance = Performance(
        notes_of((0.2, 0.3, 60, 90), (1.2, 1.3, 62, 90)), np.array([(1.0, 127.0), (2.0, 0.0)])
    )
    late = replace(NEAR, damper_delay=0.05)
    plain = render_excerpt(performance, piano, 0.0, 3 * RATE, late).audio
    audio = render_excerpt(performance, piano, 0.0, 3 * RATE, late, strings).audio
    np.testing.assert_allclose(audio[: round(1.05 * RATE)], plain[: round(1.05 * RATE)], atol=1e-6)
    echo = 0.1 * plain[round(1.2 * RATE) : round(1.5 * RATE)]
    heard = (audio - plain)[round(1.7 * RATE) : round(2.0 * RATE)]
    np.testing.assert_allclose(heard, echo, atol=1e-5)


def test_a_quick_change_of_pedal_leaves_some_of_the_sound(piano: Instrument) -> None:
    """Labels end where the pedal is let go; the strings ring on, more softly, when it is pressed again."""
    pedal = np.array([(0.1, 127.0), (1.0, 0.0), (1.1, 127.0)])
    performance = Performance(notes_of((0.2, 0.5, 45, 90), (2.9, 3.0, 90, 1)), pedal)
    audio, notes = render_excerpt(performance, piano, 0.5, 2 * RATE, NEAR)
    assert notes[0, :2].tolist() == pytest.approx([-0.3, 0.5])
    falls = loudness(audio, 0.4, 0.5) - loudness(audio, 0.6, 0.7)
    assert 10 < falls < 40
    assert loudness(audio, 0.6, 0.7) - loudness(audio, 1.4, 1.5) < 15


@pytest.mark.parametrize(("value", "end"), [(50.0, 0.5), (70.0, 2.0)], ids=["half a pedal", "a pedal"])
def test_a_piano_lifts_its_dampers_at_a_depth_of_its_own(piano: Instrument, value: float, end: float) -> None:
    """Labels end where MIDI says, whether it sounds on or not."""
    pedal = np.array([(0.1, value), (2.0, 0.0)])
    performance = Performance(notes_of((0.2, 0.5, 45, 90), (2.9, 3.0, 90, 1)), pedal)
    levels = []
    for depth in (value + 1, value - 1):
        audio, notes = render_excerpt(performance, piano, 0.0, 2 * RATE, replace(NEAR, pedal_depth=depth))
        assert notes[0, 1] == pytest.approx(end)
        levels.append(loudness(audio, 1.2, 1.4))
    assert levels[1] > levels[0] + 30


def test_sounding_is_the_pedal_rule_of_the_note_files() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        onsets = rng.uniform(0, 20, 60)
        keys = without_overlaps(
            Note(onset, onset + rng.exponential(0.5), int(rng.integers(50, 60)), 80) for onset in onsets
        )
        events = [(float(time), int(rng.integers(0, 128))) for time in np.sort(rng.uniform(0, 20, 12))]
        performance = Performance(note_array(keys), np.array(events, float))
        expected = without_overlaps(extend_by_pedal(keys, events))
        np.testing.assert_array_equal(sounding(performance), note_array(in_order(expected)))


def test_a_pedal_between_the_ends_of_notes_changes_no_label() -> None:
    rng = np.random.default_rng(3)
    onsets = rng.uniform(0, 20, 40)
    keys = note_array(
        without_overlaps(
            Note(onset, onset + rng.exponential(0.8), int(rng.integers(50, 60)), 80) for onset in onsets
        )
    )
    performance = pedalled(Performance(keys, NO_PEDAL), rng, (0.02, 0.05))
    np.testing.assert_array_equal(sounding(performance), keys)
    presses, releases = pedal_held(performance).T
    ends = np.unique(keys[:, 1])
    assert 0 < len(presses) == np.count_nonzero(np.diff(ends) > 0.3)
    last = ends[np.searchsorted(ends, presses) - 1]
    assert np.all((presses - last >= 0.02) & (presses - last <= 0.05))
    assert set(releases) <= set(ends)


def test_half_a_pedal_changes_no_label_and_what_sounds() -> None:
    rng = np.random.default_rng(3)
    onsets = rng.uniform(0, 20, 40)
    keys = note_array(
        without_overlaps(Note(onset, onset + 0.1, int(rng.integers(50, 90)), 80) for onset in onsets)
    )
    performance = half_pedalled(Performance(keys, NO_PEDAL), rng)
    np.testing.assert_array_equal(sounding(performance), keys)
    assert np.all(np.diff(performance.pedal[:, 0]) >= 0)
    presses, releases = pedal_held(performance, 40).T
    starts = np.unique(keys[:, 0])
    last = starts[np.searchsorted(starts, presses - 0.05, side="right") - 1]
    assert np.all(presses - last < 0.2)
    assert 0.3 < np.median(releases - presses) < 5.0
    assert {*performance.pedal[:, 1]} == {63.0, 0.0}
    lighter = half_pedalled(Performance(keys, NO_PEDAL), rng, (20.0, 63.0)).pedal[:, 1]
    assert 20 <= lighter[::2].min() < 30 < 53 < lighter[::2].max() <= 63
    assert not lighter[1::2].any()
    longer = sounding(performance, 40)[:, 1] - keys[:, 1]
    assert np.mean(longer > 0.1) > 0.5


def test_variation_changes_key_tempo_and_touch_of_all_notes_alike() -> None:
    keys = notes_of((1.0, 1.5, 60, 20), (2.0, 2.5, 64, 64), (3.0, 4.0, 107, 127))
    performance = Performance(keys, np.array([(1.0, 127.0), (2.0, 0.0)]))
    shifts, tempos = set(), []
    for seed in range(50):
        varied = vary(performance, np.random.default_rng(seed))
        shift = varied.keys[:, 2] - keys[:, 2]
        assert np.ptp(shift) == 0
        shifts.add(int(shift[0]))
        tempos.append(1 / varied.keys[0, 0])
        np.testing.assert_allclose(varied.keys[:, :2] * tempos[-1], keys[:, :2])
        np.testing.assert_allclose(varied.pedal[:, 0] * tempos[-1], performance.pedal[:, 0])
        assert np.all(np.diff(varied.keys[:, 3]) > 0)
        assert varied.keys[2, 3] == 127
    assert shifts == set(range(-5, 2))
    assert 0.8 <= min(tempos) < 0.9 < 1.1 < max(tempos) <= 1.25


def test_a_transposed_performance_sounds_transposed(piano: Instrument) -> None:
    performance = Performance(notes_of((0.0, 2.0, 60, 90)), NO_PEDAL)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        audio, notes = render_excerpt(vary(performance, rng), piano, 0.0, RATE, NEAR)
        assert 12 * np.log2(strongest(audio) / 440) + 69 == pytest.approx(notes[0, 2], abs=0.02)


def test_an_excerpt_is_a_part_of_the_whole(piano: Instrument) -> None:
    rng = np.random.default_rng(3)
    onsets = np.sort(rng.uniform(0, 20, 150))
    keys = without_overlaps(
        Note(onset, onset + rng.exponential(0.4), int(rng.integers(21, 109)), int(rng.integers(1, 128)))
        for onset in onsets
    )
    pedal = np.array([(4.0, 127.0), (9.0, 0.0), (11.0, 80.0)])
    performance = Performance(note_array(keys), pedal)
    whole, labels = render_excerpt(performance, piano, 0.0, 22 * RATE, NEAR)
    for begin in (3.0, 8.5, 12.0):
        part, notes = render_excerpt(performance, piano, begin, 5 * RATE, NEAR)
        np.testing.assert_allclose(part, whole[round(begin * RATE) :][: 5 * RATE], atol=1e-5)
        near = labels[(labels[:, 1] > begin - 1) & (labels[:, 0] < begin + 6)]
        np.testing.assert_allclose(notes[:, :2] + begin, near[:, :2])


def test_the_seed_decides_everything(piano: Instrument) -> None:
    performance = Performance(notes_of((0.1, 0.6, 60, 90), (0.3, 0.8, 70, 60)), NO_PEDAL)
    first, again, other = (
        render_excerpt(
            performance, piano, 0.0, RATE, vary_instrument(piano, np.random.default_rng(seed))
        ).audio
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_pianos_of_a_kind_differ_within_their_limits(piano: Instrument) -> None:
    plain = SamplerSettings(undamped_from=70)
    drawn = [vary_instrument(piano, np.random.default_rng(seed), plain) for seed in range(200)]
    assert {one.microphone for one in drawn} == {"near", "far"}
    assert np.std([one.unevenness for one in drawn]) == pytest.approx(1.0, abs=0.02)
    slowness, restrike = [one.slowness for one in drawn], [one.restrike for one in drawn]
    assert 1.0 <= min(slowness) < 1.1 < 5.5 < max(slowness) <= 6.0
    assert np.median(slowness) == pytest.approx(6**0.5, rel=0.15)
    delays = [one.damper_delay for one in drawn]
    assert 0.0 <= min(delays) < 0.005 < 0.055 < max(delays) <= 0.06
    decays = [one.extra_decay for one in drawn]
    assert 0.0 <= min(decays) < 0.5 < 5.5 < max(decays) <= 6.0
    assert 0.03 <= min(restrike) < 0.035 < 0.075 < max(restrike) <= 0.08
    assert {one.undamped_from for one in drawn} == {70}
    assert {one.lift for one in drawn} == {1.0}
    drawn = [vary_instrument(piano, np.random.default_rng(seed), lift=(0.2, 0.8)) for seed in range(50)]
    assert 0.2 <= min(one.lift for one in drawn) < 0.3 < 0.7 < max(one.lift for one in drawn) <= 0.8
    assert {one.pedal_depth for one in drawn} == {64.0}
    drawn = [vary_instrument(piano, np.random.default_rng(seed), pedal_depth=(25, 75)) for seed in range(50)]
    depths = [one.pedal_depth for one in drawn]
    assert 25 <= min(depths) < 35 < 65 < max(depths) <= 75
    assert {one.pedal_play for one in drawn} == {0.0}
    drawn = [vary_instrument(piano, np.random.default_rng(seed), pedal_play=(0, 50)) for seed in range(50)]
    assert 0 <= min(one.pedal_play for one in drawn) < 5 < 45 < max(one.pedal_play for one in drawn) <= 50


def test_some_pianos_may_have_prompt_dampers(piano: Instrument) -> None:
    seeds = map(np.random.default_rng, range(200))
    delays = np.array([vary_instrument(piano, rng, damper_delay=(-0.06, 0.12)).damper_delay for rng in seeds])
    assert np.mean(delays == 0.0) == pytest.approx(1 / 3, abs=0.1)
    assert delays.min() == 0.0
    assert 0.11 < delays.max() <= 0.12


def test_a_note_after_the_window_is_not_heard_in_it(piano: Instrument) -> None:
    keys = notes_of((0.5, 1.0, 60, 90), (1.001, 1.5, 64, 90))
    alone = Performance(keys[:1], NO_PEDAL)
    audio, notes = render_excerpt(Performance(keys, NO_PEDAL), piano, 0.0, RATE, NEAR)
    np.testing.assert_array_equal(audio, render_excerpt(alone, piano, 0.0, RATE, NEAR).audio)
    assert len(notes) == 2


def test_nothing_sounds_without_notes(piano: Instrument) -> None:
    empty = vary(Performance(np.zeros((0, 4)), NO_PEDAL), np.random.default_rng(0))
    audio, notes = render_excerpt(empty, piano, 0.0, 100)
    assert audio.shape == (100,)
    assert not audio.any()
    assert notes.shape == (0, 4)


def test_a_performance_is_the_keys_and_the_pedal_of_a_midi_file(tmp_path: Path) -> None:
    midi, part = pretty_midi.PrettyMIDI(resolution=1000), pretty_midi.Instrument(0)
    part.notes = [pretty_midi.Note(70, 60, 0.5, 1.0), pretty_midi.Note(80, 60, 1.5, 2.0)]
    part.notes.append(pretty_midi.Note(80, 110, 0.5, 2.0))  # above the piano
    part.control_changes = [pretty_midi.ControlChange(64, 127, 0.8), pretty_midi.ControlChange(64, 0, 1.2)]
    part.control_changes.append(pretty_midi.ControlChange(67, 127, 0.1))  # the soft pedal
    midi.instruments.append(part)
    midi.write(str(tmp_path / "a.mid"))
    performance = load_performance(tmp_path / "a.mid")
    np.testing.assert_allclose(performance.keys, notes_of((0.5, 1.0, 60, 70), (1.5, 2.0, 60, 80)), atol=1e-9)
    np.testing.assert_allclose(performance.pedal, [(0.8, 127), (1.2, 0)], atol=1e-9)
    np.testing.assert_allclose(sounding(performance)[:, 1], [1.2, 2.0], atol=1e-9)
