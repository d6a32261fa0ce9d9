"""A sampler: performances played on sampled pianos, with the labels that belong to the sound."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pretty_midi
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from ..note_io import PEDAL_THRESHOLD, without_overlaps
from ..notes import HIGHEST_PITCH, LOWEST_PITCH, PITCHES, Note
from .data import Passage, notes_near
from .labels import OFFSET_COLUMN, ONSET_COLUMN, PITCH_COLUMN, VELOCITY_COLUMN, NoteArray

Audio = NDArray[np.float32]

_LOUDEST_DB = -24.0  # RMS of the attack of middle C at velocity 127, relative to full scale
_ATTACK_SECONDS = 0.05  # an attack lies within so much of the beginning of its sample
_THUMP_HERTZ = 300  # of a key and its action, heard before the string
_LEVEL_SECONDS = 0.3  # the loudness of a sample is its RMS over so much after the attack
_SUSTAIN_PEDAL = 64  # the MIDI controller
_MIDDLE_C = 60


@dataclass(frozen=True)
class SamplerSettings:
    """How an instrument is played.

    Args:
        cents: detuning of the whole instrument.
        microphone: one of the instrument's; None draws one.
        decibels_per_velocity: loudness over MIDI velocity. Between the layers of two pianos that were sampled
            at natural level it is 0.16 to 0.19; a hammer whose speed doubles every 25 units gives 0.24.
        unevenness_db: standard deviation of the loudness of the keys.
        release: seconds in which a damped voice falls by 60 dB, of the lowest key and of the highest damped.
        release_spread: these seconds are multiplied by a factor drawn between its inverse and itself.
        restrike: seconds in which the old voice of a key that is struck again fades, drawn between the two.
        undamped_from: the lowest pitch without a damper, 21..109.
    """

    cents: float = 0.0
    microphone: str | None = None
    decibels_per_velocity: float = 0.2
    unevenness_db: float = 1.0
    release: tuple[float, float] = (0.6, 0.1)
    release_spread: float = 1.4
    restrike: tuple[float, float] = (0.03, 0.08)
    undamped_from: int = 90


class Sound(NamedTuple):
    """One key at one layer: 16-bit samples, where in them the attack is, and their gain at velocity 127."""

    samples: NDArray[np.int16]
    attack: int
    gain: float


@dataclass(frozen=True)
class Instrument:
    """A sampled piano, tuned to every key.

    Args:
        name: of the piano.
        sample_rate: of its sounds.
        layers: the lowest velocity of each layer, rising.
        sounds: of each microphone, by layer and by key from the lowest.
    """

    name: str
    sample_rate: int
    layers: Sequence[int]
    sounds: Mapping[str, Sequence[Sequence[Sound]]]


class _Sample(NamedTuple):
    audio: Audio
    pitch: int
    layer: int
    attack: int
    level: float


def load_instrument(audio: Path, table: Path, sample_rate: int = 16_000) -> Instrument:
    """Cut the samples of a piano out of one file, level them, and resample the nearest to every key.

    Some pianos come with every sample at full scale, others as loud as they were played. So every sample gets
    the gain that brings it to the level of its key: a parabola over all keys of the same microphone. Within
    and between layers, loudness is then a function of velocity alone.

    Args:
        audio: all samples, one after the other.
        table: CSV with `start`, `length` (in samples of the file), `pitch` (the key that was sampled),
            `velocity_low` (the lowest velocity of its layer) and `microphone`.
        sample_rate: of the sounds.
    """
    recorded, file_rate = soundfile.read(audio, dtype="float32")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    layers = sorted({int(row["velocity_low"]) for row in rows})
    pitches = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
    sounds = {}
    for microphone in sorted({row["microphone"] for row in rows}):
        samples = [
            _sample(recorded, row, layers, file_rate) for row in rows if row["microphone"] == microphone
        ]
        sampled = [sample.pitch for sample in samples]
        degree = min(2, len(set(sampled)) - 1)
        balance = np.polynomial.Polynomial.fit(
            sampled, [sample.level for sample in samples], degree, domain=(LOWEST_PITCH, HIGHEST_PITCH)
        )
        levels = balance(np.clip(pitches, min(sampled), max(sampled))) - balance(_MIDDLE_C) + _LOUDEST_DB
        sounds[microphone] = [
            [
                _sound(_nearest(samples, pitch, layer), pitch, level, file_rate / sample_rate)
                for pitch, level in zip(pitches, levels, strict=True)
            ]
            for layer in range(len(layers))
        ]
    return Instrument(table.stem, sample_rate, layers, sounds)


def _sample(recorded: Audio, row: Mapping[str, str], layers: Sequence[int], rate: int) -> _Sample:
    """Cut a sample out, and find its attack and level.

    The attack is where it first reaches a tenth of its first peak, both without the thump of the key.
    """
    audio = recorded[int(row["start"]) : int(row["start"]) + int(row["length"])]
    high_pass = butter(2, _THUMP_HERTZ, "highpass", fs=rate, output="sos")
    beginning = np.abs(sosfilt(high_pass, audio[: round(_ATTACK_SECONDS * rate)]))
    attack = int(np.argmax(beginning > 0.1 * beginning.max()))
    power = np.mean(audio[attack : attack + round(_LEVEL_SECONDS * rate)] ** 2)
    level = 10 * np.log10(max(float(power), 1e-10))
    return _Sample(audio, int(row["pitch"]), layers.index(int(row["velocity_low"])), attack, level)


def _nearest(samples: Sequence[_Sample], pitch: int, layer: int) -> _Sample:
    """The sample that stands for a key; a layer away counts like three keys, for some have gaps."""
    return min(samples, key=lambda sample: abs(sample.pitch - pitch) + 3 * abs(sample.layer - layer))


def _sound(sample: _Sample, pitch: int, target: float, rate: float) -> Sound:
    """A sample tuned to a key, with soft edges; `rate` is that of the file relative to the sound's."""
    ratio = rate * 2 ** ((pitch - sample.pitch) / 12)
    audio = sample.audio.copy() if ratio == 1 else soxr.resample(sample.audio, ratio, 1, quality="HQ")
    attack = round(sample.attack / ratio)
    begin, end = min(attack, 16), len(audio) // 8
    audio[:begin] *= np.linspace(0, 1, begin, dtype=np.float32)
    audio[len(audio) - end :] *= np.linspace(1, 0, end, dtype=np.float32)
    peak = max(float(np.abs(audio).max()), 1e-6)
    gain = 10 ** ((target - sample.level) / 20) * peak / 32767
    return Sound(np.round(audio * (32767 / peak)).astype(np.int16), attack, gain)


@dataclass(frozen=True)
class Performance:
    """What a player did.

    Args:
        keys: notes whose offsets are the times at which the keys are let go.
        pedal: (events, 2): seconds and value of the sustain pedal, in order.
    """

    keys: NoteArray
    pedal: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """When the last key is let go."""
        return float(self.keys[:, OFFSET_COLUMN].max(initial=0.0))


def load_performance(path: Path) -> Performance:
    """Keys and sustain pedal of a MIDI file; keys that a piano does not have are left out."""
    midi = pretty_midi.PrettyMIDI(str(path))
    parts = [part for part in midi.instruments if not part.is_drum]
    keys = without_overlaps(
        Note(float(key.start), float(key.end), key.pitch, key.velocity)
        for part in parts
        for key in part.notes
        if LOWEST_PITCH <= key.pitch <= HIGHEST_PITCH
    )
    pedal = [
        (float(change.time), float(change.value))
        for part in parts
        for change in part.control_changes
        if change.number == _SUSTAIN_PEDAL
    ]
    rows = [(key.onset, key.offset, key.pitch, key.velocity) for key in keys]
    events = sorted(pedal, key=lambda event: event[0])
    return Performance(np.array(rows, float).reshape(-1, 4), np.array(events, float).reshape(-1, 2))


def vary(
    performance: Performance,
    rng: np.random.Generator,
    *,
    transpose: int = 5,
    tempo: tuple[float, float] = (0.8, 1.25),
    exponent: tuple[float, float] = (0.7, 1.4),
) -> Performance:
    """The performance in another key, at another tempo and with another touch.

    Args:
        performance: to start from.
        rng: draws the three, tempo and touch evenly on a logarithmic scale.
        transpose: semitones at most, up or down, fewer where a note would leave the keyboard.
        tempo: range of its factor.
        exponent: range of the exponent of velocity / 127.
    """
    keys, pedal = performance.keys.copy(), performance.pedal.copy()
    pitches = keys[:, PITCH_COLUMN]
    down = min(transpose, int(pitches.min(initial=HIGHEST_PITCH)) - LOWEST_PITCH)
    up = min(transpose, HIGHEST_PITCH - int(pitches.max(initial=LOWEST_PITCH)))
    keys[:, PITCH_COLUMN] += rng.integers(-down, up + 1)
    speed = np.exp(rng.uniform(*np.log(tempo)))
    keys[:, [ONSET_COLUMN, OFFSET_COLUMN]] /= speed
    pedal[:, 0] /= speed
    touch = np.exp(rng.uniform(*np.log(exponent)))
    keys[:, VELOCITY_COLUMN] = np.clip(np.round(127 * (keys[:, VELOCITY_COLUMN] / 127) ** touch), 1, 127)
    return Performance(keys, pedal)


def sounding(performance: Performance) -> NoteArray:
    """The notes with the times at which their dampers fall, by the rule of `note_io.extend_by_pedal`.

    A damper falls when key and pedal are both up, and at the latest when its key is struck again.
    """
    notes, (times, values) = performance.keys.copy(), performance.pedal.T
    ends = notes[:, OFFSET_COLUMN]
    down = values >= PEDAL_THRESHOLD
    changes = np.diff(down, prepend=False)
    presses, releases = times[changes & down], times[changes & ~down]
    if len(presses):
        if len(releases) < len(presses):
            releases = np.append(releases, max(times[-1], performance.seconds))
        last_press = np.searchsorted(presses, ends, "right") - 1
        ends = np.where(last_press >= 0, np.maximum(ends, releases[last_press]), ends)
    notes[:, OFFSET_COLUMN] = np.minimum(ends, _next_strikes(notes))
    return notes


def _next_strikes(notes: NoteArray) -> NDArray[np.float64]:
    """When the key of each note is struck again, or infinity: (notes,)."""
    order = np.lexsort((notes[:, ONSET_COLUMN], notes[:, PITCH_COLUMN]))
    onsets, pitches = notes[order, ONSET_COLUMN], notes[order, PITCH_COLUMN]
    strikes = np.full(len(notes), np.inf)
    again = np.flatnonzero(pitches[1:] == pitches[:-1])
    strikes[order[again]] = onsets[again + 1]
    return strikes


def render(
    notes: NoteArray,
    instrument: Instrument,
    samples: int,
    rng: np.random.Generator,
    settings: SamplerSettings | None = None,
) -> Audio:
    """Play notes on an instrument.

    An attack is at its onset to half a sample. A note that outlasts its sample is silent at its end.

    Args:
        notes: with the times at which their dampers fall, from `sounding`; 0 is the first sample, and what
            began before it is heard from there on.
        instrument: what they are played on.
        samples: how many to make.
        rng: draws the microphone, the unevenness of the keys, and how fast dampers are.
        settings: how the instrument is played.

    Returns:
        (samples,), at the rate of the instrument; loud chords may exceed 1.
    """
    settings = settings or SamplerSettings()
    names = sorted(instrument.sounds)
    drawn = names[rng.integers(len(names))]
    layers = instrument.sounds[settings.microphone or drawn]
    unevenness = rng.normal(0, settings.unevenness_db, PITCHES)
    slowness = np.exp(rng.uniform(-1, 1) * np.log(settings.release_spread))
    releases = np.full(PITCHES, np.inf)
    damped = settings.undamped_from - LOWEST_PITCH
    releases[:damped] = slowness * np.geomspace(*settings.release, damped)
    # Detuned, the instrument plays slower or faster, and the mix is resampled once.
    speed = 2 ** (settings.cents / 1200)
    rate = instrument.sample_rate * speed
    fade = np.linspace(1, 0, round(rng.uniform(*settings.restrike) * rate), dtype=np.float32)
    mix = np.zeros(int(np.ceil(samples * speed)) + 1, np.float32)
    keys = notes[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
    near = (notes[:, ONSET_COLUMN] * rate < len(mix)) & (notes[:, OFFSET_COLUMN] + releases[keys] > 0)
    for (onset, offset, _, velocity), key, strike in zip(
        notes[near], keys[near], _next_strikes(notes)[near], strict=True
    ):
        sound = layers[max(bisect_right(instrument.layers, velocity) - 1, 0)][key]
        begin = round(onset * rate) - sound.attack  # of the voice, in samples of the mix
        silent = min((offset + releases[key]) * rate, strike * rate + len(fade), len(mix))
        heard = min(len(sound.samples), int(silent) - begin)
        if heard <= max(-begin, 0):
            continue
        loudness = settings.decibels_per_velocity * (velocity - 127) + unevenness[key]
        voice = sound.samples[:heard] * np.float32(sound.gain * 10 ** (loudness / 20))
        falling = voice[max(round(offset * rate) - begin, 0) :]
        falling *= np.exp(
            np.arange(len(falling), dtype=np.float32) * (-np.log(1000) / (releases[key] * rate))
        )
        if strike < np.inf:
            fading = voice[round(strike * rate) - begin :]
            fading *= fade[: len(fading)]
        mix[max(begin, 0) : begin + heard] += voice[max(-begin, 0) :]
    return mix[:samples] if speed == 1 else soxr.resample(mix, speed, 1, quality="HQ")[:samples]


def render_excerpt(
    performance: Performance,
    instrument: Instrument,
    begin_seconds: float,
    samples: int,
    rng: np.random.Generator,
    settings: SamplerSettings | None = None,
) -> Passage:
    """Play a window of a performance, with all that still sounds from before it; see `render`."""
    notes = sounding(performance)
    notes[:, [ONSET_COLUMN, OFFSET_COLUMN]] -= begin_seconds
    audio = render(notes, instrument, samples, rng, settings)
    return Passage(audio, notes_near(notes, samples / instrument.sample_rate))
