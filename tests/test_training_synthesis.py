"""What the sampler plays is where the labels say: attacks, dampers, pedal, strikes, tuning and loudness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import soundfile
from numpy.typing import NDArray

from partranscribe.note_io import extend_by_pedal, without_overlaps
from partranscribe.notes import Note, in_order
from partranscribe.training.data import note_array
from partranscribe.training.labels import NoteArray
from partranscribe.training.synthesis import (
    Instrument,
    Performance,
    SamplerSettings,
    load_instrument,
    load_performance,
    render,
    render_excerpt,
    sounding,
    vary,
)

RATE = 16_000
LAYERS = [(1, 63), (64, 100), (101, 127)]
PLAIN = SamplerSettings(unevenness_db=0.0, release_spread=1.0)
NO_PEDAL = np.zeros((0, 2))


def sine(pitch: int, level: float, silence: int) -> NDArray[np.float32]:
    """A decaying sine of three seconds with a sharp attack after some samples of silence."""
    time = np.arange(3 * RATE) / RATE
    wave = level * np.sin(2 * np.pi * hertz(pitch) * time) * np.exp(-2 * time)
    return np.concatenate((np.zeros(silence), wave)).astype(np.float32)


def hertz(pitch: float) -> float:
    return float(440 * 2 ** ((pitch - 69) / 12))


@pytest.fixture(scope="module")
def piano(tmp_path_factory: pytest.TempPathFactory) -> Instrument:
    """Five sampled keys, three layers at levels without order, one hole, and a second microphone."""
    folder = tmp_path_factory.mktemp("piano")
    rows, parts, start = ["start,length,pitch,velocity_low,velocity_high,microphone"], [], 0
    rng = np.random.default_rng(0)
    for microphone, pitches in (("near", (36, 48, 60, 72, 96)), ("far", (60,))):
        for pitch in pitches:
            for low, high in LAYERS:
                if (pitch, low) == (96, 101):
                    continue
                sound = sine(pitch, rng.uniform(0.2, 0.9), int(rng.integers(0, 60)))
                rows.append(f"{start},{len(sound)},{pitch},{low},{high},{microphone}")
                parts.append(np.concatenate((sound, np.zeros(1600, np.float32))))
                start += len(parts[-1])
    soundfile.write(folder / "tiny.wav", np.concatenate(parts), RATE, subtype="FLOAT")
    (folder / "tiny.csv").write_text("\n".join(rows))
    return load_instrument(folder / "tiny.wav", folder / "tiny.csv", RATE)


def notes_of(*rows: tuple[float, float, int, int]) -> NoteArray:
    return np.array(rows, float)


def play(
    piano: Instrument, notes: NoteArray, seconds: float, settings: SamplerSettings = PLAIN, seed: int = 0
) -> NDArray[np.float32]:
    settings = replace(settings, microphone=settings.microphone or "near")
    return render(notes, piano, round(seconds * RATE), np.random.default_rng(seed), settings)


def loudness(audio: NDArray[np.float32], begin: float, end: float) -> float:
    return float(10 * np.log10(np.mean(audio[round(begin * RATE) : round(end * RATE)] ** 2) + 1e-20))


def strongest(audio: NDArray[np.float32]) -> float:
    """Frequency of the highest peak of the spectrum, to a fraction of a cent."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 21))
    return float(np.argmax(spectrum) * RATE / (1 << 21))


@pytest.mark.parametrize("cents", [0.0, -30.0, 30.0])
def test_attacks_are_heard_at_the_onsets(piano: Instrument, cents: float) -> None:
    onsets = np.cumsum(np.random.default_rng(1).uniform(0.4, 0.6, 30))
    pitches = np.linspace(40, 88, 30).round()
    velocities = np.linspace(10, 120, 30).round()
    notes = np.stack((onsets, onsets + 0.15, pitches, velocities), axis=1)
    settings = replace(PLAIN, cents=cents, release=(0.1, 0.1))
    audio = np.abs(play(piano, notes, 20, settings))
    for onset in onsets:
        around = audio[round((onset - 0.1) * RATE) : round((onset + 0.1) * RATE)]
        found = onset - 0.1 + np.argmax(around > 0.1 * around.max()) / RATE
        assert found == pytest.approx(onset, abs=0.002)


def test_damper_falls_at_the_offset(piano: Instrument) -> None:
    held = play(piano, notes_of((0.5, 3.0, 60, 90)), 2)
    short = play(piano, notes_of((0.5, 1.0, 60, 90)), 2)
    np.testing.assert_array_equal(short[:RATE], held[:RATE])
    assert loudness(short, 1.05, 1.07) < loudness(held, 1.05, 1.07) - 8
    assert not short[round(1.6 * RATE) :].any()


def test_dampers_take_longer_in_the_bass(piano: Instrument) -> None:
    lasts = []
    for pitch in (24, 50, 88):
        audio = play(piano, notes_of((0.0, 0.5, pitch, 90)), 2)
        lasts.append(float(np.flatnonzero(audio)[-1] / RATE - 0.5))
    assert lasts == sorted(lasts, reverse=True)
    assert 0.1 <= lasts[-1] < lasts[0] <= 0.6


def test_top_keys_have_no_dampers(piano: Instrument) -> None:
    np.testing.assert_array_equal(
        play(piano, notes_of((0.1, 0.2, 96, 90)), 2), play(piano, notes_of((0.1, 1.9, 96, 90)), 2)
    )


@pytest.mark.parametrize("pitch", [60, 96])
def test_a_strike_ends_what_its_key_sounded_before(piano: Instrument, pitch: int) -> None:
    twice = play(piano, notes_of((0.5, 1.0, pitch, 90), (1.0, 1.5, pitch, 60)), 2)
    second = play(piano, notes_of((1.0, 1.5, pitch, 60)), 2)
    before = twice - second
    assert loudness(before, 0.97, 1.0) > -60
    assert np.abs(before[round(1.081 * RATE) :]).max() < 1e-6
    assert loudness(before, 1.0, 1.01) > -60


def test_pedal_holds_the_sound_as_long_as_the_label(piano: Instrument) -> None:
    pedal = np.array([(0.3, 100.0), (1.2, 10.0)])
    performance = Performance(notes_of((0.2, 0.5, 60, 90), (1.3, 1.4, 62, 90)), pedal)
    audio, notes = render_excerpt(performance, piano, 0.0, 2 * RATE, np.random.default_rng(0), PLAIN)
    assert notes[:, 1].tolist() == [1.2, 1.4]
    held = play(piano, notes, 2)
    np.testing.assert_array_equal(audio[: round(1.2 * RATE)], held[: round(1.2 * RATE)])
    assert loudness(audio, 1.1, 1.2) > -60


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


def test_loudness_rises_evenly_over_all_layers(piano: Instrument) -> None:
    velocities = range(1, 128, 3)
    for pitch in (36, 55, 96):
        rows = [play(piano, notes_of((0.1, 1.0, pitch, velocity)), 0.5) for velocity in velocities]
        steps = np.diff([loudness(row, 0.1, 0.4) for row in rows])
        assert steps == pytest.approx(3 * PLAIN.decibels_per_velocity, abs=0.1)


@pytest.mark.parametrize("cents", [-50.0, 0.0, 25.0])
@pytest.mark.parametrize("pitch", [45, 60, 65])
def test_every_key_is_in_tune_and_the_whole_can_be_detuned(
    piano: Instrument, pitch: int, cents: float
) -> None:
    audio = play(piano, notes_of((0.0, 2.5, pitch, 90)), 2.5, replace(PLAIN, cents=cents))
    assert 1200 * np.log2(strongest(audio) / hertz(pitch)) == pytest.approx(cents, abs=0.5)


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
        audio, notes = render_excerpt(vary(performance, rng), piano, 0.0, RATE, rng, PLAIN)
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
    settings = replace(PLAIN, microphone="near")
    whole, labels = render_excerpt(performance, piano, 0.0, 22 * RATE, np.random.default_rng(4), settings)
    for begin in (3.0, 8.5, 12.0):
        part, notes = render_excerpt(performance, piano, begin, 5 * RATE, np.random.default_rng(4), settings)
        np.testing.assert_allclose(part, whole[round(begin * RATE) :][: 5 * RATE], atol=1e-5)
        near = labels[(labels[:, 1] > begin - 1) & (labels[:, 0] < begin + 6)]
        np.testing.assert_allclose(notes[:, :2] + begin, near[:, :2])


def test_the_seed_decides_everything(piano: Instrument) -> None:
    performance = Performance(notes_of((0.1, 0.6, 60, 90), (0.3, 0.8, 70, 60)), NO_PEDAL)
    first, again, other = (
        render_excerpt(performance, piano, 0.0, RATE, np.random.default_rng(seed)).audio for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_nothing_sounds_without_notes(piano: Instrument) -> None:
    empty = Performance(np.zeros((0, 4)), NO_PEDAL)
    audio, notes = render_excerpt(
        vary(empty, np.random.default_rng(0)), piano, 0.0, 100, np.random.default_rng(0)
    )
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
