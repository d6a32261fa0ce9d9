"""Augmentation of sound and of context: what it keeps, and how far it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from partranscribe.errors import DataError
from partranscribe.note_array import NoteArray
from partranscribe.notes import NOTE_STATES, OFF, ONSET, PITCHES
from partranscribe.training.augment import Augmenter, ContextNoise, load_rooms
from partranscribe.training.labels import FrameLabels, frame_labels

RATE, FPS = 16_000, 31.25
STILL: dict[str, Any] = {
    "max_cents": 0,
    "max_semitones": 0,
    "gain_db": 0,
    "equaliser_db": 0,
    "noise_share": 0,
    "dry_share": 0,
}
CLEAN: dict[str, Any] = {
    "blank": 0,
    "dropped": 0,
    "moved": 0,
    "shortened": 0,
    "lengthened": 0,
    "invented": 0,
    "cell": 0,
}


def augmenter(**settings: Any) -> Augmenter:
    """One that changes nothing but what is asked for."""
    return Augmenter(**(STILL | settings))


def context_noise(**settings: Any) -> ContextNoise:
    """One that changes nothing but what is asked for."""
    return ContextNoise(**(CLEAN | settings))


def noise(seed: int, samples: int = 8000) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * np.float32(0.1)


def room(seed: int, seconds: float = 0.5) -> NDArray[np.float32]:
    """A response of unit energy whose direct sound stands first."""
    tail = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    tail *= 0.1 * np.exp(-8 * np.arange(len(tail)) / len(tail))
    tail[0] = 1.0
    return np.asarray(tail / np.sqrt(np.sum(tail**2)), np.float32)


def loudness(audio: NDArray[np.floating]) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


def changed(settings: Augmenter, audio: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return settings.apply(audio, settings.draw_speed(rng), 0, len(audio), rng)


def random_notes(seed: int, count: int = 400) -> NoteArray:
    """Notes within 10 s, in the order of onsets."""
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.uniform(0, 10, count))
    pitches, velocities = rng.integers(21, 109, count), rng.integers(1, 128, count)
    return np.stack((onsets, onsets + rng.uniform(0.2, 1, count), pitches, velocities), axis=1)


def test_nothing_asked_for_is_nothing_done() -> None:
    audio = noise(0)
    np.testing.assert_allclose(changed(augmenter(), audio), audio, atol=1e-6)


@pytest.mark.parametrize("cents", [0.0, 30.0, 100.0])
def test_speeds_stay_within_the_detuning(cents: float) -> None:
    rng = np.random.default_rng(0)
    drawn = 1200 * np.log2([augmenter(max_cents=cents).draw_speed(rng) for _ in range(300)])
    assert np.abs(drawn).max() <= cents
    assert np.ptp(drawn) >= 1.9 * cents


def test_a_share_is_transposed_by_whole_semitones() -> None:
    rng = np.random.default_rng(0)
    settings = augmenter(max_semitones=2, shifted_share=0.4)
    drawn = [settings.draw_semitones(rng) for _ in range(2000)]
    assert set(drawn) == {-2, -1, 0, 1, 2}
    assert np.count_nonzero(drawn) / len(drawn) == pytest.approx(0.4, abs=0.04)
    assert settings.draw_speed(rng, 2) == pytest.approx(2 ** (2 / 12))


def test_detuning_plays_faster_and_higher() -> None:
    time = np.arange(20_000) / RATE
    audio = np.asarray(0.3 * np.sin(2 * np.pi * 1000 * time), np.float32)
    sharp = augmenter().apply(audio, 1.1, 0, 16_000, np.random.default_rng(0))
    assert len(sharp) == 16_000
    assert int(np.abs(np.fft.rfft(sharp)).argmax()) == 1100


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{"rooms": [room(1), room(2)]}, {"equaliser_db": 6.0}])
def test_rooms_and_equaliser_keep_the_loudness(settings: dict[str, Any], seed: int) -> None:
    audio = noise(seed)
    after = changed(augmenter(**settings), audio, seed)
    assert loudness(after) == pytest.approx(loudness(audio), abs=1e-3)
    assert loudness(after - audio) > loudness(audio) - 30


def test_a_room_is_its_response_mixed_with_the_dry_sound() -> None:
    response = room(3)
    impulse = np.zeros(RATE, np.float32)
    impulse[1000] = 1.0
    heard = changed(augmenter(rooms=[response], absorption=0.0), impulse)
    assert np.abs(heard[:1000]).max() < 1e-6  # nothing before its cause
    tail = heard[1001 : 1000 + len(response)]
    wet = tail @ response[1:] / (response[1:] @ response[1:])
    np.testing.assert_allclose(tail, wet * response[1:], atol=1e-6)
    assert heard[1000] > wet * response[0]


def test_rooms_are_damped_by_as_much_as_absorption_allows() -> None:
    response = np.zeros(RATE, np.float32)
    response[[0, 2000, 10_000]] = (0.8, 0.5, 0.5)
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1.0
    settings = augmenter(rooms=[response], absorption=10.0)
    rates = []
    for seed in range(100):
        heard = changed(settings, impulse, seed)
        rates.append(np.log(heard[2000] / heard[10_000]) * RATE / 8000)
    assert 0 <= min(rates) < 1
    assert 9 < max(rates) <= 10 + 1e-3
    assert np.mean(rates) == pytest.approx(5.0, abs=1.0)


def test_what_sounded_before_a_crop_is_heard_in_it() -> None:
    settings = augmenter(rooms=[room(4, seconds=1.5)])
    assert settings.lead_samples == RATE
    audio = np.concatenate((noise(5, RATE), np.zeros(RATE, np.float32)))
    crop = settings.apply(audio, 1.0, RATE, RATE, np.random.default_rng(0))
    assert len(crop) == RATE
    assert loudness(crop[: RATE // 4]) > loudness(crop[-RATE // 2 :]) + 10


@pytest.mark.parametrize("samples", [65_536 - 2 * RATE, 65_536 - RATE])
def test_the_end_of_a_long_response_does_not_wrap_around_to_the_crop(samples: int) -> None:
    response = np.zeros(2 * RATE, np.float32)
    response[[0, -1]] = (0.8, 0.6)
    settings = augmenter(rooms=[response])
    # With or without the second that is kept free, lead and crop fill a transform to its last sample.
    audio = np.zeros(RATE + samples, np.float32)
    audio[RATE + samples - 100] = 1.0
    crop = settings.apply(audio, 1.0, RATE, samples, np.random.default_rng(0))
    assert np.abs(np.delete(crop, samples - 100)).max() < 1e-6


def test_without_rooms_no_lead_is_needed() -> None:
    assert augmenter().lead_samples == 0


def test_a_share_of_the_crops_stays_dry() -> None:
    settings, audio = augmenter(rooms=[room(6)], dry_share=0.35), noise(7)
    dry = [np.allclose(changed(settings, audio, seed), audio, atol=1e-6) for seed in range(200)]
    assert 50 <= sum(dry) <= 90


def test_the_gain_stays_within_its_bounds() -> None:
    audio = noise(8)
    gains = [loudness(changed(augmenter(gain_db=12.0), audio, seed)) - loudness(audio) for seed in range(200)]
    assert -12 - 1e-3 <= min(gains) < -10
    assert 10 < max(gains) <= 12 + 1e-3


@pytest.mark.parametrize("ratio", [15.0, 45.0])
def test_noise_has_the_ratio_that_was_drawn(ratio: float) -> None:
    settings, audio = augmenter(noise_share=1.0, noise_snr_db=(ratio, ratio)), noise(9)
    added = changed(settings, audio) - audio
    assert loudness(audio) - loudness(added) == pytest.approx(ratio, abs=0.05)


def test_half_of_the_crops_get_noise_between_15_and_45_db() -> None:
    audio = noise(10)
    settings = Augmenter(max_cents=0, gain_db=0, equaliser_db=0)
    added = [changed(settings, audio, seed) - audio for seed in range(200)]
    ratios = [loudness(audio) - loudness(one) for one in added if one.any() and loudness(one) > -90]
    assert 80 <= len(ratios) <= 120
    assert 14.9 < min(ratios) < 20
    assert 40 < max(ratios) < 45.1


def test_silence_stays_silence() -> None:
    settings = Augmenter(rooms=[room(11)], noise_share=1.0)
    silence = np.zeros(RATE + 8000 + 1000, np.float32)
    for seed in range(4):
        crop = settings.apply(silence, 1.0, RATE, 8000, np.random.default_rng(seed))
        assert crop.dtype == np.float32
        assert not crop.any()


def test_the_same_chance_gives_the_same_crop_and_leaves_its_source() -> None:
    settings, audio = Augmenter(rooms=[room(12), room(13)]), noise(14, 2 * RATE + 9000)
    before, rooms = audio.copy(), [one.copy() for one in settings.rooms]
    first, again, other = (
        settings.apply(audio, 1.01, RATE, 8000, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(audio, before)
    np.testing.assert_array_equal(settings.rooms, rooms)


def test_rooms_are_cut_from_one_file_by_a_table(tmp_path: Path) -> None:
    samples = noise(15, 1000)
    sf.write(tmp_path / "rooms.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "rooms.csv").write_text("name,start,length,direct_sample\nhall,0,600,0\ncellar,600,400,8\n")
    hall, cellar = load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)
    np.testing.assert_array_equal(hall, samples[:600])
    np.testing.assert_array_equal(cellar, samples[608:])


@pytest.mark.parametrize("row", ["99999,4,0", "0,0,0", "0,-1,0", "-5,9,0", "9990,20,0", "0,9,9", "0,9,-1"])
def test_a_room_that_is_not_within_the_audio_is_named(row: str, tmp_path: Path) -> None:
    sf.write(tmp_path / "rooms.wav", np.ones(10_000), RATE)
    (tmp_path / "rooms.csv").write_text(f"start,length,direct_sample\n0,9,0\n{row}\n")
    with pytest.raises(DataError, match=r"rooms\.csv: start .* is not within rooms\.wav, 10000 samples"):
        load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)


def test_rooms_get_the_rate_that_is_asked_for_and_one_channel(tmp_path: Path) -> None:
    time = np.arange(4800) / (3 * RATE)
    samples = np.stack((np.sin(2 * np.pi * 440 * time), noise(16, len(time))), axis=1)
    sf.write(tmp_path / "rooms.wav", samples, 3 * RATE, subtype="FLOAT")
    (tmp_path / "rooms.csv").write_text("name,start,length\nhall,0,4800\n")
    (hall,) = load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)
    inside = slice(100, -100)
    np.testing.assert_allclose(hall[inside], 3 * samples[::3, 0][inside], atol=3e-3)


def test_rooms_are_as_loud_at_any_rate(tmp_path: Path) -> None:
    direct = np.zeros(4800, np.float32)
    direct[1200] = 1.0
    sf.write(tmp_path / "rooms.wav", direct, 3 * RATE, subtype="FLOAT")
    (tmp_path / "rooms.csv").write_text("start,length\n0,4800\n")
    (room,) = load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)
    assert room.argmax() == 400
    assert room.sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("table", ["name,begin\nhall,0\n", "name,start,length\nhall,a,b\n"])
def test_rooms_that_cannot_be_read_are_named(table: str, tmp_path: Path) -> None:
    (tmp_path / "rooms.csv").write_text(table)
    with pytest.raises(DataError, match=r"rooms.csv: rooms cannot be read with rooms.wav"):
        load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)
    sf.write(tmp_path / "rooms.wav", noise(15, 100), RATE)
    with pytest.raises(DataError, match=r"rooms.csv: rooms cannot be read with rooms.wav"):
        load_rooms(tmp_path / "rooms.wav", tmp_path / "rooms.csv", RATE)


@pytest.mark.parametrize("seed", range(3))
def test_without_errors_the_context_is_that_of_the_notes(seed: int) -> None:
    rng, notes = np.random.default_rng(seed), random_notes(seed)
    np.testing.assert_array_equal(context_noise().notes(notes, 10.0, FPS, rng), notes)
    labels = frame_labels(notes, 0, 320, FPS)
    for one, other in zip(context_noise().cells(labels, rng), labels, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not context_noise().blanks(rng)


def test_notes_are_dropped() -> None:
    rng, notes = np.random.default_rng(0), random_notes(0)
    assert len(context_noise(dropped=1.0).notes(notes, 10.0, FPS, rng)) == 0
    kept = context_noise(dropped=0.25).notes(notes, 10.0, FPS, rng)
    assert 270 <= len(kept) <= 330
    rows = {tuple(row) for row in notes}
    assert all(tuple(row) in rows for row in kept)


def test_notes_are_moved_by_one_or_two_frames() -> None:
    rng, notes = np.random.default_rng(1), random_notes(1)
    moved = context_noise(moved=1.0).notes(notes, 10.0, FPS, rng)
    by_end, moved_by_end = (rows[np.argsort(rows[:, 1])] for rows in (notes, moved))
    np.testing.assert_array_equal(moved_by_end[:, 1:], by_end[:, 1:])
    moves = np.round((moved_by_end[:, 0] - by_end[:, 0]) * FPS, 6)
    assert set(moves) == {-2, -1, 1, 2}
    assert (np.diff(moved[:, 0]) >= 0).all()


def test_notes_are_ended_early() -> None:
    rng, notes = np.random.default_rng(2), random_notes(2)
    ended = context_noise(shortened=1.0).notes(notes, 10.0, FPS, rng)
    np.testing.assert_array_equal(ended[:, [0, 2, 3]], notes[:, [0, 2, 3]])
    assert (ended[:, 1] <= notes[:, 1]).all()
    assert (ended[:, 1] >= notes[:, 0]).all()
    share = (ended[:, 1] - notes[:, 0]) / (notes[:, 1] - notes[:, 0])
    assert 0.4 < share.mean() < 0.6


def test_notes_are_ended_late() -> None:
    rng, notes = np.random.default_rng(6), random_notes(6)
    ended = context_noise(lengthened=0.5, extra_seconds=0.2).notes(notes, 10.0, FPS, rng)
    np.testing.assert_array_equal(ended[:, [0, 2, 3]], notes[:, [0, 2, 3]])
    extra = ended[:, 1] - notes[:, 1]
    late = extra > 0
    assert 0.4 < late.mean() < 0.6
    assert (extra[~late] == 0).all()
    assert 0.15 < extra[late].mean() < 0.25


def test_notes_are_invented() -> None:
    rng, settings = np.random.default_rng(3), context_noise(invented=0.5)
    counts = [len(settings.notes(random_notes(0, 0), 10.0, FPS, rng)) for _ in range(100)]
    assert 4.5 < np.mean(counts) < 5.5
    invented = context_noise(invented=100.0).notes(random_notes(0, 0), 10.0, FPS, rng)
    assert (invented[:, 1] >= invented[:, 0]).all()
    assert invented[:, 0].min() >= 0
    assert invented[:, 0].max() <= 10
    assert {int(pitch) for pitch in invented[:, 2]} == set(range(21, 109))
    assert {int(velocity) for velocity in invented[:, 3]} == set(range(1, 128))


def test_wrong_notes_are_still_notes_in_order_and_the_right_ones_are_kept() -> None:
    notes = random_notes(4)
    notes[::3, 1] = notes[::3, 0]  # some so short that a move puts their onset behind their end
    before = notes.copy()
    settings = ContextNoise(dropped=0.3, moved=1.0, shortened=0.5, invented=5.0)
    wrong = settings.notes(notes, 10.0, FPS, np.random.default_rng(4))
    np.testing.assert_array_equal(notes, before)
    assert (wrong[:, 1] >= wrong[:, 0]).all()
    assert (np.diff(wrong[:, 0]) >= 0).all()


def test_states_near_a_note_are_replaced_in_half_of_the_crops() -> None:
    state, velocity = np.zeros((100, PITCHES), np.int8), np.zeros((100, PITCHES), np.float32)
    state[40:60, 30:50] = 3
    state[40, 30:50], velocity[40, 30:50] = ONSET, 0.5
    state[60, 30:50] = 1
    labels = FrameLabels(state.copy(), velocity.copy())
    hits = []
    for seed in range(60):
        wrong = context_noise(cell=1.0).cells(labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(labels.state, state)
        np.testing.assert_array_equal(labels.velocity, velocity)
        if wrong is not labels:
            hits.append(wrong)
    assert 20 <= len(hits) <= 40
    for wrong in hits:
        near = wrong.state[38:63, 30:50]
        assert {*near.ravel().tolist()} == set(range(NOTE_STATES))
        assert 0.7 < (near[2:-2] != state[40:61, 30:50]).mean() < 0.9  # any of five, the right one as well
        assert wrong.state[38:40, 30:50].any()
        assert wrong.state[61:63, 30:50].any()
        far = wrong.state.copy()
        far[38:63, 30:50] = OFF
        assert not far.any()
        assert 0 <= wrong.velocity.min() < wrong.velocity.max() <= 1


def test_a_share_of_the_cells_is_replaced() -> None:
    labels = FrameLabels(np.full((300, PITCHES), 3, np.int8), np.zeros((300, PITCHES), np.float32))
    shares = [
        (context_noise(cell=0.1).cells(labels, np.random.default_rng(seed)).state != 3).mean()
        for seed in range(10)
    ]
    assert {round(share, 2) for share in shares} == {0.0, 0.08}  # 0.1, of which a fifth stays what it was


def test_a_quarter_of_the_contexts_is_blank() -> None:
    rng = np.random.default_rng(5)
    assert 70 <= sum(ContextNoise().blanks(rng) for _ in range(360)) <= 110
