"""A sampler: notes played on sampled pianos."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from .note_array import (
    OFFSET_COLUMN,
    ONSET_COLUMN,
    PITCH_COLUMN,
    VELOCITY_COLUMN,
    NoteArray,
    next_strikes,
)
from .notes import HIGHEST_PITCH, LOWEST_PITCH, PEDAL_THRESHOLD, PITCHES
from .tuning import CONCERT_PITCH

Audio = NDArray[np.float32]

LOUDEST_DB = -24.0  # RMS of the attack of middle C at velocity 127, relative to full scale
_ATTACK_SECONDS = 0.05  # an attack lies within so much of the beginning of its sample
_THUMP_HERTZ = 300  # of a key and its action, heard before the string
_LEVEL_SECONDS = 0.3  # the loudness of a sample is its RMS over so much after the attack
_MIDDLE_C = 60


@dataclass(frozen=True)
class SamplerSettings:
    """How an instrument is played.

    Args:
        microphone: one of the instrument's; None for the first by name.
        decibels_per_velocity: loudness over MIDI velocity. Between the layers of two pianos that were sampled
            at natural level it is 0.16 to 0.19; a hammer whose speed doubles every 25 units gives 0.24.
        unevenness: decibels by which each key is too loud, from the lowest.
        release: seconds in which a damped voice falls by 60 dB, of the lowest key and of the highest damped.
        slowness: these seconds are multiplied by it.
        damper_delay: seconds from an offset, where the damper begins to fall, until it touches the string.
        lift: share of these seconds, 0..1, after which a press of the pedal has lifted the dampers: it does
            so early in its way; when it is let go, they fall late in its way back.
        pedal_depth: value of the sustain pedal, 0..127, from which on it lifts the dampers. Labels take the
            64 that MIDI has, whatever the piano does.
        pedal_play: how far below that they begin to lift: between, they lie on the strings more lightly, and
            silence them more slowly.
        restrike: seconds in which the old voice of a key that is struck again fades.
        extra_decay: decibels a second by which strings fall faster than those that were sampled.
        undamped_from: the lowest pitch without a damper, 21..109.
    """

    microphone: str | None = None
    decibels_per_velocity: float = 0.2
    unevenness: Sequence[float] = (0.0,) * PITCHES
    release: tuple[float, float] = (0.6, 0.1)
    slowness: float = 1.0
    damper_delay: float = 0.0
    lift: float = 1.0
    pedal_depth: float = PEDAL_THRESHOLD
    pedal_play: float = 0.0
    restrike: float = 0.05
    extra_decay: float = 0.0
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


def load_instrument(
    audio: Path, table: Path, sample_rate: int = 16_000, tuning: float = CONCERT_PITCH
) -> Instrument:
    """Cut the samples of a piano out of one file, level them, and resample the nearest to every key.

    Some pianos come with every sample at full scale, others as loud as they were played. So every sample gets
    the gain that brings it to the level of its key: a parabola over all keys of the same microphone. Within
    and between layers, loudness is then a function of velocity alone.

    Args:
        audio: all samples, one after the other.
        table: CSV with `start`, `length` (in samples of the file), `pitch` (the key that was sampled),
            `velocity_low` (the lowest velocity of its layer) and `microphone`.
        sample_rate: of the sounds.
        tuning: frequency of A4 in Hz, if the samples were at concert pitch.

    Raises:
        ValueError: there is no sample.
    """
    recorded, file_rate = soundfile.read(audio, dtype="float32")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise ValueError("the table tells of no sample")
    layers = sorted({int(row["velocity_low"]) for row in rows})
    pitches = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
    rate = file_rate / sample_rate * tuning / CONCERT_PITCH
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
        levels = balance(np.clip(pitches, min(sampled), max(sampled))) - balance(_MIDDLE_C) + LOUDEST_DB
        sounds[microphone] = [
            [
                _sound(_nearest(samples, pitch, layer), pitch, level, rate)
                for pitch, level in zip(pitches, levels, strict=True)
            ]
            for layer in range(len(layers))
        ]
    return Instrument(table.stem, sample_rate, layers, sounds)


def _sample(recorded: Audio, row: Mapping[str, str], layers: Sequence[int], rate: int) -> _Sample:
    """Cut a sample out, and find its attack and level."""
    audio = recorded[int(row["start"]) : int(row["start"]) + int(row["length"])]
    attack = attack_of(audio, rate)
    level = attack_level(audio[attack:], rate)
    return _Sample(audio, int(row["pitch"]), layers.index(int(row["velocity_low"])), attack, level)


def attack_of(audio: Audio, rate: int) -> int:
    """The sample where a sound first reaches a tenth of its first peak, both without the thump of the key."""
    high_pass = butter(2, _THUMP_HERTZ, "highpass", fs=rate, output="sos")
    beginning = np.abs(sosfilt(high_pass, audio[: round(_ATTACK_SECONDS * rate)]))
    return int(np.argmax(beginning > 0.1 * beginning.max()))


def attack_level(audio: Audio, rate: int) -> float:
    """How loud a sound is over the first 0.3 s from its attack, in decibels of RMS."""
    power = np.mean(audio[: round(_LEVEL_SECONDS * rate)] ** 2)
    return 10 * float(np.log10(max(float(power), 1e-10)))


def _nearest(samples: Sequence[_Sample], pitch: int, layer: int) -> _Sample:
    """The sample that stands for a key; a layer away counts like three keys, for some have gaps."""
    return min(samples, key=lambda sample: abs(sample.pitch - pitch) + 3 * abs(sample.layer - layer))


def _sound(sample: _Sample, pitch: int, target: float, rate: float) -> Sound:
    """A sample tuned to a key; `rate` is that of the file relative to the sound's."""
    ratio = rate * 2 ** ((pitch - sample.pitch) / 12)
    audio = sample.audio.copy() if ratio == 1 else soxr.resample(sample.audio, ratio, 1, quality="HQ")
    return sound_of(audio, round(sample.attack / ratio), sample.level, target)


def sound_of(audio: Audio, attack: int, level: float, target: float) -> Sound:
    """The sound of a key at one layer, with soft edges.

    Args:
        audio: of it, which is changed.
        attack: where it is in it.
        level, target: decibels that it has, and that it shall have at velocity 127; see `attack_level`.
    """
    begin, end = min(attack, 16), len(audio) // 8
    audio[:begin] *= np.linspace(0, 1, begin, dtype=np.float32)
    audio[len(audio) - end :] *= np.linspace(1, 0, end, dtype=np.float32)
    peak = max(float(np.abs(audio).max()), 1e-6)
    gain = 10 ** ((target - level) / 20) * peak / 32767
    return Sound(np.round(audio * (32767 / peak)).astype(np.int16), attack, gain)


def damper_contact(pedal: NDArray[np.float64], settings: SamplerSettings) -> NDArray[np.float64]:
    """(events, 2): seconds, and how firmly from then on dampers lie on the strings, 0 for not at all to 1.

    Args:
        pedal: (events, 2): seconds and value of the sustain pedal, in order.
        settings: where in its way it lifts the dampers, and how late they are.
    """
    times, values = pedal.T
    below, play = settings.pedal_depth - values, min(settings.pedal_play, settings.pedal_depth)
    contact = np.clip(below / play, 0, 1) if play > 0 else (below > 0).astype(float)
    change = np.diff(contact, prepend=1.0)
    times, contact, change = times[change != 0], contact[change != 0], change[change != 0]
    late = settings.damper_delay * np.where(change < 0, settings.lift, 1.0)
    return np.stack((np.maximum.accumulate(times + late), contact), axis=1)  # in order though some are later


def dampers_lifted(contact: NDArray[np.float64]) -> NDArray[np.float64]:
    """(times, 2): seconds at which the pedal has lifted the dampers, and at which these touch again.

    Args:
        contact: from `damper_contact`; at its end they lie on the strings.
    """
    times, lies = contact.T
    changes = np.flatnonzero(np.diff(lies > 0, prepend=True))
    lifted: NDArray[np.float64] = times[changes].reshape(-1, 2)
    return lifted


class _Dampers:
    """Of the keys that are let go: they lie on their strings while the sustain pedal has not lifted them.

    Args:
        contact: as of `Voices`.
    """

    def __init__(self, contact: NDArray[np.float64] | None) -> None:
        self._times, lies = contact.T if contact is not None and len(contact) else np.array([[0.0], [1.0]])
        self._lifted = np.cumsum(np.diff(self._times, prepend=self._times[0]) * (1 - np.roll(lies, 1)))

    def lain(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds up to some times for which they lay on their strings, fewer where they lay lightly."""
        lifted: NDArray[np.float64] = np.interp(times, self._times, self._lifted)
        return times - lifted

    def when(self, lain: NDArray[np.float64]) -> NDArray[np.float64]:
        """The times up to which they lay there for so many seconds."""
        lifted: NDArray[np.float64] = np.interp(lain, self._times - self._lifted, self._lifted)
        return lain + lifted


class Voices:
    """Notes as an instrument sounds them, rendered in parts that join without a seam, however they are cut.

    An attack is at its onset to half a sample. A note that outlasts its sample is silent at its end.

    Args:
        notes: with the times at which their dampers fall, on keys that a piano has; 0 is the first sample.
        instrument: what they are played on.
        settings: how it is played.
        contact: from `damper_contact`; at its end dampers lie on the strings, as they do all the time where
            there is none. A string not yet silent when its damper is lifted again rings on from there.
    """

    def __init__(
        self,
        notes: NoteArray,
        instrument: Instrument,
        settings: SamplerSettings | None = None,
        contact: NDArray[np.float64] | None = None,
    ) -> None:
        settings = settings or SamplerSettings()
        self._rate = rate = instrument.sample_rate
        self._sounds = instrument.sounds[settings.microphone or min(instrument.sounds)]
        self._keys = notes[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
        velocities = notes[:, VELOCITY_COLUMN]
        self._layers = np.maximum(np.searchsorted(instrument.layers, velocities, "right") - 1, 0)
        loudness = settings.decibels_per_velocity * (velocities - 127)
        self._loudness = loudness + np.array(settings.unevenness)[self._keys]
        releases = np.full(PITCHES, np.inf)
        damped = settings.undamped_from - LOWEST_PITCH
        releases[:damped] = settings.slowness * np.geomspace(*settings.release, damped)
        self._releases = releases[self._keys]
        self._damped = notes[:, OFFSET_COLUMN] + settings.damper_delay
        self._dampers = _Dampers(contact)
        self._strikes = next_strikes(notes)
        self._fade = np.linspace(1, 0, round(settings.restrike * rate), dtype=np.float32)
        attacks = np.array([[sound.attack for sound in layer] for layer in self._sounds])
        lengths = np.array([[len(sound.samples) for sound in layer] for layer in self._sounds])
        self._begins = np.round(notes[:, ONSET_COLUMN] * rate).astype(int) - attacks[self._layers, self._keys]
        silent = self._dampers.when(self._dampers.lain(self._damped) + self._releases)
        silent = np.minimum(silent * rate, self._strikes * rate + len(self._fade))
        self._fall = np.exp(
            np.arange(lengths.max()) * (-np.log(10) / 20 * settings.extra_decay / rate), dtype=np.float32
        )
        ends = self._begins + lengths[self._layers, self._keys]
        self._ends = np.minimum(ends, np.floor(silent)).astype(int)

    @property
    def end(self) -> int:
        """The sample from which on all is silent."""
        return int(self._ends.max(initial=0))

    def render(self, first: int, samples: int) -> Audio:
        """Samples `first` to `first + samples`, with what began before them; loud chords may exceed 1."""
        mix, last = np.zeros(samples, np.float32), first + samples
        heard = np.maximum(self._begins, first) < np.minimum(self._ends, last)
        for index in np.flatnonzero(heard).tolist():
            begin = int(self._begins[index])
            voice = self._voice(index, last)
            mix[max(begin - first, 0) : begin + len(voice) - first] += voice[max(first - begin, 0) :]
        return mix

    def _voice(self, index: int, last: int) -> Audio:
        """One note from its beginning, up to sample `last` of the whole: (samples,)."""
        begin, end = int(self._begins[index]), min(int(self._ends[index]), last)
        sound = self._sounds[self._layers[index]][self._keys[index]]
        gain = np.float32(sound.gain * 10 ** (self._loudness[index] / 20))
        voice: Audio = sound.samples[: end - begin] * (gain * self._fall[: end - begin])
        touched = max(round(self._damped[index] * self._rate) - begin, 0)
        falling = voice[touched:]
        lain = self._dampers.lain((begin + touched + np.arange(len(falling))) / self._rate)
        falling *= np.exp((lain - lain[:1]) * (-np.log(1000) / self._releases[index]))
        if self._strikes[index] < np.inf:
            fading = voice[round(self._strikes[index] * self._rate) - begin :]
            fading *= self._fade[: len(fading)]
        return voice
