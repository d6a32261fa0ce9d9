"""Performances for the sampler, varied as players and pianos vary, and labels that belong to the sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..note_array import (
    OFFSET_COLUMN,
    ONSET_COLUMN,
    PITCH_COLUMN,
    VELOCITY_COLUMN,
    NoteArray,
    next_strikes,
    note_array,
)
from ..note_io import read_midi, without_overlaps
from ..notes import HIGHEST_PITCH, LOWEST_PITCH, PEDAL_THRESHOLD, PITCHES
from ..sampler import Instrument, SamplerSettings, Voices, damper_contact, dampers_lifted
from .data import Passage, notes_near
from .draws import log_uniform
from .resonance import ringing

NO_PEDAL = np.zeros((0, 2))

HALF_PEDAL = (PEDAL_THRESHOLD - 1.0, PEDAL_THRESHOLD - 1.0)
_HALF_PEDAL_SECONDS = (0.4, 3.0)  # from one change of it to the next
_PEDALLED_SECONDS = 0.3  # from the end of notes until others end, at least, where a pedal is pressed between


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
    """Keys and sustain pedal of a MIDI file; keys that a piano does not have are left out.

    Raises:
        NoteFileError: the file cannot be read.
    """
    keys, pedal = read_midi(path)
    keys = without_overlaps(key for key in keys if LOWEST_PITCH <= key.pitch <= HIGHEST_PITCH)
    events = sorted(pedal, key=lambda event: event[0])
    return Performance(note_array(keys), np.array(events, float).reshape(-1, 2))


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
    speed = log_uniform(rng, tempo)
    keys[:, [ONSET_COLUMN, OFFSET_COLUMN]] /= speed
    pedal[:, 0] /= speed
    touch = log_uniform(rng, exponent)
    keys[:, VELOCITY_COLUMN] = np.clip(np.round(127 * (keys[:, VELOCITY_COLUMN] / 127) ** touch), 1, 127)
    return Performance(keys, pedal)


def vary_instrument(
    instrument: Instrument,
    rng: np.random.Generator,
    settings: SamplerSettings | None = None,
    *,
    unevenness_db: float = 1.0,
    slowness: tuple[float, float] = (1.0, 6.0),
    damper_delay: tuple[float, float] = (0.0, 0.06),
    restrike: tuple[float, float] = (0.03, 0.08),
    extra_decay: tuple[float, float] = (0.0, 6.0),
    lift: tuple[float, float] = (1.0, 1.0),
    pedal_depth: tuple[float, float] = (PEDAL_THRESHOLD, PEDAL_THRESHOLD),
    pedal_play: tuple[float, float] = (0.0, 0.0),
) -> SamplerSettings:
    """How another piano of its kind is played.

    Args:
        instrument: one of its microphones is drawn.
        rng: draws all that follows, and the microphone.
        settings: what is not drawn.
        unevenness_db: standard deviation of the loudness of the keys.
        slowness: range of that of the dampers, drawn evenly on a logarithmic scale.
        damper_delay: range of the seconds until they touch the strings; what is drawn below 0 is prompt.
        restrike: range of the seconds in which the old voice of a key that is struck again fades.
        extra_decay: range of the decibels a second by which its strings fall faster.
        lift: range of the share of the damper's delay after which the pedal lifts the dampers.
        pedal_depth: range of the value of the pedal from which on it has lifted them.
        pedal_play: range of how far below that it begins to.
    """
    names = sorted(instrument.sounds)
    return replace(
        settings or SamplerSettings(),
        microphone=names[rng.integers(len(names))],
        unevenness=tuple(rng.normal(0, unevenness_db, PITCHES)),
        slowness=log_uniform(rng, slowness),
        damper_delay=max(rng.uniform(*damper_delay), 0.0),
        restrike=rng.uniform(*restrike),
        extra_decay=rng.uniform(*extra_decay),
        lift=rng.uniform(*lift),
        pedal_depth=rng.uniform(*pedal_depth),
        pedal_play=rng.uniform(*pedal_play),
    )


def pedalled(
    performance: Performance,
    rng: np.random.Generator,
    pause: tuple[float, float],
) -> Performance:
    """Notes that last as long as their pedal did, with a pedal by which they may have lasted so long.

    It is let go whenever notes end, and soon pressed again if no others end soon, so that it catches strings
    that are not silent yet, or never lets late dampers touch them. No label changes by it.

    Args:
        performance: its keys are let go where its notes end; its own pedal is not used.
        rng: draws the pauses.
        pause: range of the seconds from the end of notes until the pedal is pressed again.
    """
    ends = np.unique(performance.keys[:, OFFSET_COLUMN])
    presses = ends[:-1] + rng.uniform(*pause, max(len(ends) - 1, 0))
    held = np.stack((presses, ends[1:]), axis=1)[np.diff(ends) > max(_PEDALLED_SECONDS, pause[1])]
    values = np.tile((127.0, 0.0), len(held))
    return Performance(performance.keys, np.stack((held.ravel(), values), axis=1))


def half_pedalled(
    performance: Performance, rng: np.random.Generator, values: tuple[float, float] = HALF_PEDAL
) -> Performance:
    """The same notes with a pedal that is never down by its value, and lifts the dampers of many a piano.

    It is pressed as a pianist does it, soon after some notes begin, and let go where others do, and holds
    what sounds for longer than labels say.

    Args:
        performance: its own pedal is not used.
        rng: draws when the pedal is changed.
        values: range of that of the pedal, up to 63.
    """
    changes, last = [], -np.inf
    wait = rng.uniform(*_HALF_PEDAL_SECONDS)  # as often in all of a piece
    for onset in np.unique(performance.keys[:, ONSET_COLUMN]).tolist():
        if onset >= last + wait * rng.uniform(0.7, 1.4):
            changes.append(onset)
            last = onset
    ends = np.array([*changes[1:], performance.seconds]) + rng.uniform(-0.03, 0.05, len(changes))
    presses = np.minimum(np.array(changes) + rng.uniform(0.05, 0.2, len(changes)), ends - 0.01)
    times = np.stack((presses, ends), axis=1).ravel()
    depths = np.stack((rng.uniform(*values, len(changes)), np.zeros(len(changes))), axis=1).ravel()
    return Performance(performance.keys, np.stack((times, depths), axis=1))


def let_go(performance: Performance) -> NDArray[np.float64]:
    """(events, 2): seconds and value of the sustain pedal, which is let go at the end at the latest."""
    pedal = performance.pedal
    if len(pedal) and pedal[-1, 1] > 0:
        pedal = np.vstack((pedal, (max(pedal[-1, 0], performance.seconds), 0.0)))
    return pedal


def pedal_held(performance: Performance, depth: float = PEDAL_THRESHOLD) -> NDArray[np.float64]:
    """(times, 2): the seconds from which and to which the sustain pedal is down; at the end it is let go.

    Args:
        performance: whose pedal it is.
        depth: its value from which on it is down.
    """
    times, values = let_go(performance).T
    down = values >= depth
    changes = np.diff(down, prepend=False)
    return np.stack((times[changes & down], times[changes & ~down]), axis=1)


def sounding(performance: Performance, depth: float = PEDAL_THRESHOLD) -> NoteArray:
    """The notes with the times at which their dampers fall, by the rule of `note_io.extend_by_pedal`.

    A damper falls when key and pedal are both up, and at the latest when its key is struck again.

    Args:
        performance: whose notes they are.
        depth: value of the pedal from which on it is down.
    """
    notes = performance.keys.copy()
    ends = notes[:, OFFSET_COLUMN]
    presses, releases = pedal_held(performance, depth).T
    if len(presses):
        last_press = np.searchsorted(presses, ends, "right") - 1
        ends = np.where(last_press >= 0, np.maximum(ends, releases[last_press]), ends)
    notes[:, OFFSET_COLUMN] = np.minimum(ends, next_strikes(notes))
    return notes


def render_excerpt(
    performance: Performance,
    instrument: Instrument,
    begin_seconds: float,
    samples: int,
    settings: SamplerSettings | None = None,
    strings: NDArray[np.float32] | None = None,
) -> Passage:
    """Play a window of a performance, with all that still sounds from before it.

    Of a note whose onset is after the window, not even what sounds before its attack is heard. Which notes
    there are does not depend on the piano: where it lifts its dampers sooner than MIDI says, they sound on.

    Args:
        performance: what is played.
        instrument, settings: on what and how.
        begin_seconds, samples: the window.
        strings: what free strings answer to an impulse, to be heard while the pedal is down: (samples,), see
            `resonance.strings_response`. It begins with the window.
    """
    settings = settings or SamplerSettings()
    notes, played = sounding(performance), sounding(performance, settings.pedal_depth)
    for some in (notes, played):
        some[:, [ONSET_COLUMN, OFFSET_COLUMN]] -= begin_seconds
    begun = played[played[:, ONSET_COLUMN] * instrument.sample_rate < samples + 1]
    contact = damper_contact(let_go(performance) - np.array([begin_seconds, 0.0]), settings)
    audio = Voices(begun, instrument, settings, contact).render(0, samples)
    if strings is not None:
        audio += ringing(audio, dampers_lifted(contact), strings, instrument.sample_rate)
    return Passage(audio, notes_near(notes, samples / instrument.sample_rate))
