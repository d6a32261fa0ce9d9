"""What makes training recordings sound like others, and training contexts wrong like decoded ones."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import DataError
from ..note_array import NoteArray
from ..notes import HIGHEST_PITCH, LOWEST_PITCH, NOTE_STATES, OFF
from .labels import FrameLabels

Audio = NDArray[np.float32]


def load_rooms(audio: Path, table: Path, sample_rate: int) -> list[Audio]:
    """Impulse responses cut from one audio file, of which the first channel counts.

    Args:
        audio: all responses, one after the other.
        table: CSV with `start` and `length` (in samples of the file) of each. Where it tells `direct_sample`,
            what lies before the direct sound is left out.
        sample_rate: of the responses.

    Raises:
        DataError: one of the files cannot be read, or a response is not within the audio.
    """
    try:
        samples, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        with table.open(newline="") as lines:
            rows = [
                (int(row["start"]), int(row["length"]), int(row.get("direct_sample") or 0))
                for row in csv.DictReader(lines)
            ]
    except (OSError, soundfile.SoundFileError, KeyError, ValueError) as error:
        fact = f"{type(error).__name__}: {error}"
        raise DataError(f"{table}: rooms cannot be read with {audio.name} ({fact}); correct them") from error
    for first, length, direct in rows:
        if not 0 <= first <= first + direct < first + length <= len(samples):
            fact = f"start {first}, length {length}, direct_sample {direct}"
            raise DataError(f"{table}: {fact} is not within {audio.name}, {len(samples)} samples; correct it")
    rooms = [samples[first + direct : first + length, 0] for first, length, direct in rows]
    if rate == sample_rate:
        return rooms
    gain = np.float32(rate / sample_rate)  # with which the sum over fewer samples is as loud
    return [gain * soxr.resample(room, rate, sample_rate, quality="HQ") for room in rooms]


@dataclass(frozen=True)
class Augmenter:
    """Detuning, rooms, equalisation, gain and noise of one crop.

    Args:
        sample_rate: of all audio.
        rooms: impulse responses whose direct sound is at their beginning.
        dry_share: share of the crops that no room is put around.
        absorption: each room is damped by exp(-a t), t in seconds and `a` drawn from 0 to this: 10 makes of a
            hall that decays by 60 dB in 2.5 s a room of 0.5 s.
        max_cents: detuning by playback rate, which scales time with it.
        max_semitones: a share of the crops, shifted_share, sounds up to so many semitones higher or lower, by
            playback rate as well, which makes of a piano one with other strings.
        gain_db: level is changed by at most so much up or down.
        equaliser_db: strength of a random smooth equaliser.
        noise_share: share of the crops with noise, at a ratio drawn from noise_snr_db.
    """

    sample_rate: int = 16_000
    rooms: Sequence[Audio] = field(default_factory=list)
    dry_share: float = 0.35
    absorption: float = 10.0
    max_cents: float = 30.0
    max_semitones: int = 3
    shifted_share: float = 0.5
    gain_db: float = 12.0
    equaliser_db: float = 4.0
    noise_share: float = 0.5
    noise_snr_db: tuple[float, float] = (15.0, 45.0)

    @property
    def lead_samples(self) -> int:
        """Samples before a crop that its reverberation is made from."""
        return self.sample_rate if len(self.rooms) else 0

    def draw_semitones(self, rng: np.random.Generator) -> int:
        """How many semitones higher than it was played a crop sounds."""
        if not self.max_semitones or rng.random() >= self.shifted_share:
            return 0
        return int(rng.choice((-1, 1)) * rng.integers(1, self.max_semitones + 1))

    def draw_speed(self, rng: np.random.Generator, semitones: int = 0) -> float:
        """Playback rate, which transposes by so many semitones: source samples for one sample of the crop."""
        cents = rng.uniform(-self.max_cents, self.max_cents) if self.max_cents else 0.0
        return float(2 ** (semitones / 12 + cents / 1200))

    def apply(self, audio: Audio, speed: float, lead: int, samples: int, rng: np.random.Generator) -> Audio:
        """Change a crop, and cut its lead off.

        Args:
            audio: at least (lead + samples) * speed samples.
            speed: from `draw_speed`.
            lead: samples before the crop, at the crop's rate.
            samples: of the crop.
            rng: where chance comes from.
        """
        if speed != 1.0:
            audio = soxr.resample(audio, speed, 1.0, quality="MQ")
        audio = audio[: lead + samples]
        spectrum_size = 1 << int(np.ceil(np.log2(lead + samples + self.sample_rate)))
        spectrum = np.fft.rfft(audio, spectrum_size)
        if len(self.rooms) and rng.random() >= self.dry_share:
            room = self.rooms[int(rng.integers(len(self.rooms)))][: self.sample_rate * 2]
            wet = rng.uniform(0.1, 1.0)
            seconds = np.arange(len(room)) / self.sample_rate
            response = wet * room * np.exp(-rng.uniform(0, self.absorption) * seconds)
            response[0] += 1 - wet
            spectrum *= np.fft.rfft(response, spectrum_size)
        if self.equaliser_db:
            spectrum *= self._equaliser(len(spectrum), rng)
        changed = np.fft.irfft(spectrum, spectrum_size)[: lead + samples]
        loudness, before = np.sqrt(np.mean(changed**2)), np.sqrt(np.mean(audio**2))
        changed = changed[lead:] * (before / loudness if loudness > 0 else 1.0)
        changed *= 10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20)
        if rng.random() < self.noise_share:
            changed += self._noise(changed, rng)
        return np.ascontiguousarray(changed, np.float32)

    def _equaliser(self, bins: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """A smooth gain over log-frequency: (bins,)."""
        frequency = np.linspace(0, self.sample_rate / 2, bins)
        octaves = np.log2(np.maximum(frequency, 30) / 30)
        knots = np.arange(0, 9)
        gains: NDArray[np.float64] = np.interp(octaves, knots, rng.normal(0, self.equaliser_db, len(knots)))
        return 10 ** (gains / 20)

    def _noise(self, audio: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Noise whose spectrum falls by 0 to 6 dB an octave, at a random ratio to the audio."""
        white = np.fft.rfft(rng.standard_normal(len(audio)))
        slope = np.maximum(np.arange(len(white)), 20) ** -rng.uniform(0, 1)
        noise: NDArray[np.float64] = np.fft.irfft(white * slope, len(audio))
        ratio = 10 ** (-rng.uniform(*self.noise_snr_db) / 20)
        level: float = np.sqrt(np.mean(audio**2)) / np.sqrt(np.mean(noise**2))
        return noise * (ratio * level)


@dataclass(frozen=True)
class ContextNoise:
    """Errors in the context, so that the network learns to live with its own.

    Args:
        blank: share of the crops whose context is that of silence throughout.
        dropped, moved, shortened, lengthened: shares of the notes.
        extra_seconds: mean of what a lengthened note sounds on. Where the context still holds a note that
            has ended, the network learns to tell that it has, and not only to tell the very moment.
        invented: notes a second that are not there.
        cell: share of the cells near a note whose state is replaced, in half of the crops. A note of which a
            cell becomes silent is over for the context, and one that begins anew is counted from there, so
            that a share of 0.1 leaves hardly a long note as it was.
    """

    blank: float = 0.25
    dropped: float = 0.05
    moved: float = 0.1
    shortened: float = 0.1
    lengthened: float = 0.3
    extra_seconds: float = 0.4
    invented: float = 0.5
    cell: float = 0.1

    def blanks(self, rng: np.random.Generator) -> bool:
        """Whether this crop's context is blanked."""
        return bool(rng.random() < self.blank)

    def notes(self, notes: NoteArray, seconds: float, fps: float, rng: np.random.Generator) -> NoteArray:
        """Notes with some dropped, moved by one or two frames, ended early or late, and some invented."""
        noisy = notes[rng.random(len(notes)) >= self.dropped]
        count = len(noisy)
        moves = rng.integers(1, 3, count) * rng.choice((-1, 1), count) / fps
        noisy[:, 0] += moves * (rng.random(count) < self.moved)
        early = rng.random(count) < self.shortened
        length = noisy[:, 1] - noisy[:, 0]
        noisy[:, 1] = np.where(early, noisy[:, 0] + length * rng.random(count), noisy[:, 1])
        late = rng.random(count) < self.lengthened
        noisy[:, 1] += late * rng.exponential(self.extra_seconds, count)
        more = rng.poisson(self.invented * seconds)
        onsets = rng.uniform(0, seconds, more)
        invented = np.stack(
            (
                onsets,
                onsets + rng.exponential(0.3, more),
                rng.integers(LOWEST_PITCH, HIGHEST_PITCH + 1, more),
                rng.integers(1, 128, more),
            ),
            axis=1,
        )
        noisy = np.concatenate((noisy, invented))
        noisy[:, 1] = np.maximum(noisy[:, 1], noisy[:, 0])
        return noisy[np.argsort(noisy[:, 0], kind="stable")]

    def cells(self, labels: FrameLabels, rng: np.random.Generator) -> FrameLabels:
        """States near a note replaced by any of the five, in half of the crops."""
        if rng.random() < 0.5:
            return labels
        near = labels.state != OFF
        near[2:] |= near[:-2]
        near[:-2] |= near[2:]
        hit = near & (rng.random(near.shape, np.float32) < self.cell)
        state = np.where(hit, rng.integers(0, NOTE_STATES, hit.shape, np.int8), labels.state)
        velocity = np.where(hit, rng.random(hit.shape, np.float32), labels.velocity)
        return FrameLabels(state, velocity)
