"""Performances as training asks for them: labels are where it sounds, read once, the same by the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from partranscribe.errors import DataError, NoteFileError
from partranscribe.note_io import write_notes
from partranscribe.notes import Note
from partranscribe.sampler import Instrument
from partranscribe.training import played
from partranscribe.training.augment import Augmenter
from partranscribe.training.data import Passage, drawn
from partranscribe.training.played import Played, PlayedConfig, load_instruments, load_performances
from partranscribe.training.synthesis import NO_PEDAL, Performance

RATE = 16_000
PLAIN = PlayedConfig(transpose=0, tempo=(1.0, 1.0), touch=(1.0, 1.0))


def write_piano(folder: Path, name: str, hertz: float) -> None:
    """A sampled piano of one key, middle C, that sounds at any pitch."""
    time = np.arange(2 * RATE) / RATE
    soundfile.write(folder / f"{name}.flac", 0.5 * np.sin(2 * np.pi * hertz * time) * np.exp(-time), RATE)
    header = "start,length,pitch,velocity_low,velocity_high,microphone"
    (folder / f"{name}.csv").write_text(f"{header}\n0,{len(time)},60,1,127,near\n")


@pytest.fixture(scope="module")
def pianos(tmp_path_factory: pytest.TempPathFactory) -> list[Instrument]:
    folder = tmp_path_factory.mktemp("pianos")
    write_piano(folder, "high", 1046.5)
    write_piano(folder, "low", 261.6)
    return load_instruments(folder, RATE)


def performance(onsets: Sequence[float]) -> Performance:
    """Middle C of a tenth of a second at each onset."""
    rows = [(onset, onset + 0.1, 60.0, 64.0) for onset in onsets]
    return Performance(np.array(rows), NO_PEDAL)


EVERY_SECOND = performance(np.arange(0.5, 30, 1.0).tolist())


def test_shares_may_leave_nothing_to_be_cut() -> None:
    assert PlayedConfig(share=0.9, note_list_share=0.1).cut_share == 0


def test_every_table_with_a_sound_file_is_a_piano(pianos: list[Instrument]) -> None:
    assert [piano.name for piano in pianos] == ["high", "low"]


def test_a_piano_is_its_table_and_the_sound_of_that_name(tmp_path: Path) -> None:
    write_piano(tmp_path, "grand", 261.6)
    write_piano(tmp_path, "grand.far", 261.6)
    (tmp_path / "grand.txt").write_text("the licence")
    assert [piano.name for piano in load_instruments(tmp_path, RATE)] == ["grand", "grand.far"]


def test_a_folder_without_a_piano_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="no sampled piano there"):
            load_instruments(folder, RATE)


def test_a_piano_without_samples_is_named(tmp_path: Path) -> None:
    write_piano(tmp_path, "grand", 261.6)
    table = tmp_path / "grand.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"grand.csv: no piano can be made .* the table tells of no sample"):
        load_instruments(tmp_path, RATE)


def test_a_piano_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_piano(tmp_path, "grand", 261.6)
    (tmp_path / "grand.flac").write_text("no sound")
    with pytest.raises(DataError, match=r"grand.csv: no piano can be made of it and grand.flac"):
        load_instruments(tmp_path, RATE)


def test_labels_are_where_the_passage_sounds(pianos: list[Instrument]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        audio, notes = Played([EVERY_SECOND], pianos, PLAIN).draw(3 * RATE, 0, rng)
        assert audio.shape == (3 * RATE,)
        onsets = [onset for onset in notes[:, 0] if 0.2 < onset < 2.8]
        assert len(onsets) >= 2
        for onset in onsets:
            silence, sound = (audio[round((onset + t) * RATE) :][: RATE // 50] for t in (-0.025, 0.005))
            assert np.abs(sound).max() > 20 * np.abs(silence).max()


def test_every_piano_and_every_place_is_drawn(pianos: list[Instrument]) -> None:
    source, rng = Played([EVERY_SECOND], pianos, PLAIN), np.random.default_rng(1)
    passages = [source.draw(RATE, RATE // 2, rng) for _ in range(300)]
    crossings = [np.mean(np.diff(np.sign(audio[audio != 0])) != 0) for audio, _ in passages if audio.any()]
    assert 0.3 < np.mean(np.array(crossings) > 0.08) < 0.7  # the high one crosses zero more often
    beginnings = [notes[0, 0] for _, notes in passages if len(notes)]
    assert min(beginnings) < -0.5
    assert max(beginnings) > 0.5


def test_a_share_is_played_on_modelled_pianos(
    pianos: list[Instrument], monkeypatch: pytest.MonkeyPatch
) -> None:
    played_on = []

    def rendered(performance: Performance, instrument: Instrument, *_: object) -> Passage:
        played_on.append(instrument.name)
        return Passage(np.zeros(RATE, np.float32), performance.keys[:0])

    monkeypatch.setattr(played, "render_excerpt", rendered)
    for modelled, share, expected in ((0, 1.0, 0.0), (1, 0.3, 0.3), (1, 1.0, 1.0)):
        settings = replace(PLAIN, modelled=modelled, modelled_share=share)
        source, rng = Played([EVERY_SECOND], pianos, settings), np.random.default_rng(7)
        played_on.clear()
        for _ in range(100):
            source.draw(RATE, 0, rng)
        assert np.mean([name == "modelled-0" for name in played_on]) == pytest.approx(expected, abs=0.12)


def test_the_action_is_heard_where_keys_and_pedal_are_let_go(pianos: list[Instrument]) -> None:
    keys = np.array([(0.0, 0.5, 60.0, 64.0), (0.0, 3.9, 48.0, 64.0)])
    one = Performance(keys, np.array([(0.2, 127.0), (1.5, 0.0)]))

    def drawn(share: float) -> Passage:
        settings = replace(PLAIN, action_share=share, action_db=(-30.0, -30.0))
        return Played([one], pianos, settings).draw(8 * RATE, 0, np.random.default_rng(3))

    knocked, plain = drawn(1.0), drawn(0.0)
    np.testing.assert_array_equal(knocked.notes, plain.notes)
    added = np.abs(knocked.audio - plain.audio)
    (begin,) = {round(onset, 6) for onset in plain.notes[:, 0]}
    for seconds in (0.5, 1.5, 3.9):
        let_go = round((begin + seconds) * RATE)
        assert added[let_go : let_go + RATE // 10].max() > 0.005
        assert not added[let_go - RATE // 5 : let_go - 1].any()


def test_lists_may_be_played_with_half_a_pedal(pianos: list[Instrument]) -> None:
    """Which sounds on where it lifts the dampers, and is in no label."""

    def silence(depth: float, share: float) -> float:
        """RMS of what is heard long after notes end and before others begin."""
        settings = replace(
            PLAIN,
            slowness=(1.0, 1.0),
            damper_delay=(0.0, 0.0),
            resonance_db=(-200.0, -200.0),
            pedal_depth=(depth, depth),
            half_pedal_share=share,
        )
        audio, notes = Played([EVERY_SECOND], pianos, settings).draw(20 * RATE, 0, np.random.default_rng(3))
        time = np.arange(len(audio)) / RATE
        sounds = ((time > notes[:, :1] - 0.01) & (time < notes[:, 1:2] + 0.3)).any(axis=0)
        assert 0.2 < sounds.mean() < 0.9
        return float(np.sqrt(np.mean(audio[~sounds] ** 2)))

    assert silence(40.0, 1.0) > 1e-3
    assert silence(40.0, 0.0) == silence(64.0, 1.0) == 0


def test_without_the_action_nothing_else_is_drawn(pianos: list[Instrument]) -> None:
    following = []
    for level in (-30.0, -90.0):
        rng = np.random.default_rng(3)
        Played([EVERY_SECOND], pianos, replace(PLAIN, action_db=(level, 0.0))).draw(RATE, 0, rng)
        following.append(rng.random())
    assert following[0] == following[1]


@pytest.mark.parametrize("wrong", [{"modelled": -1}, {"modelled_share": 1.5}, {"modelled_share": -0.1}])
def test_a_share_of_modelled_pianos_is_one(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="modelled"):
        PlayedConfig(**wrong)  # type: ignore[arg-type]


def test_labels_are_where_a_modelled_piano_sounds(pianos: list[Instrument]) -> None:
    settings = replace(PLAIN, modelled=1, modelled_share=1.0, resonance_db=(-200.0, -200.0))
    audio, notes = Played([EVERY_SECOND], pianos, settings).draw(5 * RATE, 0, np.random.default_rng(0))
    onsets = [onset for onset in notes[:, 0] if 0.2 < onset < 4.8]
    assert len(onsets) >= 4
    for onset in onsets:
        silence, sound = (audio[round((onset + t) * RATE) :][: RATE // 50] for t in (-0.025, 0.002))
        assert np.abs(sound).max() > 5 * np.abs(silence).max()


def test_longer_performances_are_drawn_more_often(pianos: list[Instrument]) -> None:
    short = Performance(np.array([(0.0, 3.0, 40.0, 64.0)]), NO_PEDAL)
    source, rng = Played([short, EVERY_SECOND], pianos, PLAIN), np.random.default_rng(2)
    drawn = [source.draw(RATE, 0, rng).notes for _ in range(200)]
    assert 2 <= sum(40.0 in notes[:, 2] for notes in drawn) <= 50


def test_the_seed_decides_what_is_played(pianos: list[Instrument]) -> None:
    source = Played([EVERY_SECOND], pianos, PlayedConfig())
    first, again, other = (source.draw(RATE, 0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.audio, again.audio)
    np.testing.assert_array_equal(first.notes, again.notes)
    assert not np.array_equal(first.audio, other.audio)


def test_variation_is_within_the_settings(pianos: list[Instrument]) -> None:
    settings = replace(PLAIN, transpose=2, touch=(0.5, 2.0))
    source, rng = Played([EVERY_SECOND], pianos, settings), np.random.default_rng(5)
    notes = np.concatenate([source.draw(RATE, 0, rng).notes for _ in range(100)])
    assert set(notes[:, 2]) == {58, 59, 60, 61, 62}
    lowest, highest = 127 * (64 / 127) ** 2, 127 * (64 / 127) ** 0.5
    assert lowest - 1 <= notes[:, 3].min() < lowest + 10
    assert highest - 10 < notes[:, 3].max() <= highest + 1


def test_note_lists_may_be_played_with_a_pedal(pianos: list[Instrument]) -> None:
    """Late dampers never touch the strings of one that is pressed again at once."""
    late = replace(
        PLAIN, slowness=(1.0, 1.0), damper_delay=(0.1, 0.1), lift=(0.2, 0.2), pedal_pause=(0.01, 0.02)
    )

    def after_the_offset(settings: PlayedConfig, notes: Performance) -> float:
        audio, labels = Played([notes], pianos, settings).draw(6 * RATE, 0, np.random.default_rng(0))
        end = round(labels[0, 1] * RATE)
        return float(np.abs(audio[end + RATE // 2 : end + RATE]).max())

    apart = performance([0.5, 2.5])
    silent, rings = (after_the_offset(replace(late, pedal_share=share), apart) for share in (0.0, 1.0))
    assert silent < 1e-3 * rings
    with_its_own = Performance(apart.keys, np.array([(0.1, 127.0), (0.2, 0.0)]))
    assert after_the_offset(replace(late, pedal_share=1.0), with_its_own) < 1e-3 * rings


def test_a_pedal_lifts_dampers_as_deep_as_the_settings_say(pianos: list[Instrument]) -> None:
    half = Performance(performance([0.5, 2.5]).keys, np.array([(0.1, 50.0), (2.4, 0.0)]))

    def after_the_offset(depth: float) -> float:
        settings = replace(PLAIN, slowness=(1.0, 1.0), damper_delay=(0.0, 0.0), pedal_depth=(depth, depth))
        audio, labels = Played([half], pianos, settings).draw(6 * RATE, 0, np.random.default_rng(0))
        end = round(labels[0, 1] * RATE)
        return float(np.abs(audio[end + RATE // 2 : end + RATE]).max())

    assert after_the_offset(64.0) < 1e-3 * after_the_offset(40.0)


def test_a_pedal_lifts_dampers_little_by_little_as_the_settings_say(pianos: list[Instrument]) -> None:
    half = Performance(performance([0.5, 2.5]).keys, np.array([(0.1, 50.0), (2.4, 0.0)]))
    prompt = replace(PLAIN, slowness=(1.0, 1.0), damper_delay=(0.0, 0.0))

    def after_the_offset(depth: float, play: float) -> float:
        settings = replace(prompt, pedal_depth=(depth, depth), pedal_play=(play, play))
        audio, labels = Played([half], pianos, settings).draw(6 * RATE, 0, np.random.default_rng(0))
        end = round(labels[0, 1] * RATE)
        return float(np.abs(audio[end + RATE // 2 : end + RATE]).max())

    damped, lightly, lifted = (
        after_the_offset(64.0, 14.0),
        after_the_offset(64.0, 50.0),
        after_the_offset(50.0, 14.0),
    )
    assert damped < 1e-2 * lightly
    assert lightly < 1e-1 * lifted


def test_dampers_are_as_slow_as_the_settings_say(pianos: list[Instrument]) -> None:
    def after_the_offset(slowness: float, delay: float) -> float:
        settings = replace(PLAIN, slowness=(slowness, slowness), damper_delay=(delay, delay))
        audio, notes = Played([performance([0.5])], pianos, settings).draw(
            3 * RATE, 0, np.random.default_rng(0)
        )
        end = round(notes[0, 1] * RATE)
        return float(np.sqrt(np.mean(audio[end + RATE // 10 : end + RATE // 5] ** 2)))

    fast, slow, late = after_the_offset(1.0, 0.0), after_the_offset(6.0, 0.0), after_the_offset(1.0, 0.06)
    assert late > 2 * fast
    assert slow > 2 * late


def test_what_is_played_may_be_kept_as_opus(pianos: list[Instrument]) -> None:
    plain, coded = (
        Played([EVERY_SECOND], pianos, replace(PLAIN, opus_share=share)).draw(
            2 * RATE, 0, np.random.default_rng(6)
        )
        for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(coded.notes, plain.notes)
    assert coded.audio.shape == plain.audio.shape
    error = np.sqrt(np.mean((coded.audio - plain.audio) ** 2) / np.mean(plain.audio**2))
    assert 0.001 < error < 0.2


def test_strings_fall_and_ring_as_the_settings_say(pianos: list[Instrument]) -> None:
    held = Performance(performance([0.5]).keys, np.array([(0.0, 127.0), (9.0, 0.0)]))

    def sound(decay: float = 0.0, resonance: float = -200.0) -> NDArray[np.float32]:
        settings = replace(PLAIN, extra_decay=(decay, decay), resonance_db=(resonance, resonance))
        return Played([held], pianos, settings).draw(3 * RATE, 0, np.random.default_rng(1)).audio

    plain, falling, ringing = sound(), sound(decay=50.0), sound(resonance=-20.0)
    ends = [np.flatnonzero(np.abs(audio) > 1e-9)[-1] for audio in (plain, ringing)]
    assert ends[1] > ends[0] + RATE // 2  # the strings ring on after the end of the sample
    assert np.sum(falling**2) < np.sum(plain**2) < np.sum(ringing**2)


def test_performances_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "performances"
    (folder / "deeper").mkdir(parents=True)
    write_notes(folder / "b.mid", [Note(0.5, 1.0, 60, 64)])
    write_notes(folder / "deeper" / "c.mid", [Note(0.25, 0.75, 62, 80), Note(1.0, 2.0, 64, 90)])
    first = load_performances(folder, tmp_path / "cache")
    assert [one.keys.tolist() for one in first] == [
        [[0.5, 1.0, 60, 64]],
        [[0.25, 0.75, 62, 80], [1.0, 2.0, 64, 90]],
    ]
    monkeypatch.setattr(played, "load_performance", None)
    again = load_performances(folder, tmp_path / "cache")
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.pedal, other.pedal)


def test_a_performance_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.mid").write_bytes(b"MThd and no more")
    with pytest.raises(NoteFileError, match=r"broken.mid: is not a readable MIDI file"):
        load_performances(tmp_path, tmp_path / "cache")


def test_a_performance_without_notes_is_left_out(tmp_path: Path) -> None:
    write_notes(tmp_path / "empty.mid", [])
    write_notes(tmp_path / "full.mid", [Note(0.5, 1.0, 60, 64)])
    assert len(load_performances(tmp_path, tmp_path / "cache")) == 1


def test_passages_as_recordings_are_the_same_for_a_seed(pianos: list[Instrument]) -> None:
    source = Played([EVERY_SECOND], pianos, PLAIN)
    augmenter = Augmenter(gain_db=6.0, rooms=[np.array([1.0, 0.5], np.float32)])
    first, again = (drawn(source, RATE, 3, 2.5, augmenter, np.random.default_rng(0)) for _ in range(2))
    assert len({recording.audio[:].tobytes() for recording in first}) == 3
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.audio[:], other.audio[:])
        assert np.array_equal(one.notes, other.notes)
        assert one.audio[:].shape == (2.5 * RATE,)
        assert np.abs(one.audio[:]).max() > 300
        assert (one.notes[:, 0] >= 0).all()
        assert len(one.notes) >= 2


def test_passages_as_recordings_are_heard_in_a_room(pianos: list[Instrument]) -> None:
    echo = np.zeros(RATE // 2, np.float32)
    echo[RATE // 4] = 1.0
    damped = replace(PLAIN, slowness=(1.0, 1.0), damper_delay=(0.0, 0.0))
    source = Played([performance(np.arange(0.5, 30, 0.73).tolist())], pianos, damped)
    room = Augmenter(gain_db=0.0, equaliser_db=0.0, noise_share=0.0, rooms=[echo], dry_share=0.0)
    for augmenter, delays in ((replace(room, dry_share=1.0), [0.0]), (room, [0.0, 0.25])):
        (recording,) = drawn(source, RATE, 1, 2.5, augmenter, np.random.default_rng(0))
        onsets = [onset for onset in recording.notes[:, 0] if 0.2 < onset < 2.0]
        assert len(onsets) >= 2
        for time in (onset + delay for onset in onsets for delay in delays):
            silence, sound = (
                recording.audio[round((time + t) * RATE) :][: RATE // 50] for t in (-0.025, 0.005)
            )
            assert np.abs(sound.astype(float)).max() > 3 * np.abs(silence.astype(float)).max()


def test_performances_are_brought_to_the_level_as_a_whole(pianos: list[Instrument]) -> None:
    """Ten times as many notes, each as loud, are softer by 10 dB where the level is kept."""
    dense, sparse = (
        performance(np.arange(0.5, 30, 0.2).tolist()),
        performance(np.arange(0.5, 30, 2.0).tolist()),
    )
    levels = []
    for one in (dense, sparse):
        for level in (0.0, -30.0):
            source = Played([one], pianos[:1], PLAIN, level)
            audio, notes = source.draw(3 * RATE, 0, np.random.default_rng(1))
            onset = next(onset for onset in notes[:, 0] if onset > 0.2)
            attack = audio[round(onset * RATE) : round((onset + 0.1) * RATE)]
            levels.append(10 * np.log10(np.mean(attack**2)))
    as_they_are, kept = levels[0] - levels[2], levels[1] - levels[3]
    assert kept - as_they_are == pytest.approx(-10, abs=0.5)
