"""The network that tells endings learns to hear what a damper does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from partranscribe.endings import FRAMES, EndHeard, EndingNetwork, ends_heard
from partranscribe.errors import DataError
from partranscribe.note_array import note_array
from partranscribe.notes import LOWEST_PITCH, PITCHES, Note, in_order
from partranscribe.offsets import _likely
from partranscribe.training.endings import Endings, learn_endings, with_endings
from partranscribe.training.fitting import Heard
from partranscribe.windows import NumpyArrays
from synth import SECONDS_PER_FRAME as FRAME


def passage(seed: int) -> Heard:
    """Notes that are heard to end up to half a second too late or too soon, and say when they do end."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 0.1, (600, PITCHES, 3)).astype(np.float32)
    heard, there = [], []
    for key in rng.permutation(PITCHES)[:60].tolist():
        for onset in (2.0, 9.0):
            end = onset + float(rng.uniform(1.0, 4.0))
            there.append(Note(onset, end, LOWEST_PITCH + key, 64))
            heard.append(Note(onset, end + float(rng.uniform(-0.5, 0.5)), LOWEST_PITCH + key, 64))
            features[round(onset / FRAME) : round(end / FRAME), key, 1] += 5.0  # on another scale
    found = in_order(heard)
    return Heard(found, in_order(there), {}, ends_heard(features, found, FRAME), {})


def learnt(passages: list[Heard], seed: int = 0) -> EndingNetwork:
    torch.manual_seed(seed)
    return learn_endings(passages, 8, FRAME)


def errors(one: Heard) -> NDArray[np.float64]:
    """Of the likeliest ends, in seconds."""
    endings = [one.endings[note.place] for note in one.found]
    table, there = note_array(one.found), note_array(one.there)
    likeliest = _likely(endings, table[:, 0], np.full(len(table), np.inf)).moments[:, 0]
    return np.asarray(np.abs(likeliest - there[:, 1]))


def test_ends_are_learnt_from_what_is_said_of_them() -> None:
    network = learnt([passage(seed) for seed in range(40)])
    heard = passage(100)
    assert np.mean(np.abs(note_array(heard.found) - note_array(heard.there))[:, 1] < 0.05) < 0.2
    assert np.mean(errors(with_endings(heard, network, FRAME)) < 0.05) > 0.95


def test_a_network_is_finished_as_it_was_trained() -> None:
    torch.manual_seed(0)
    windows = torch.randn(4, FRAMES, 9)
    network = Endings(5, torch.rand(9) + 0.5)
    found = network.finished().logits(windows.numpy(), NumpyArrays())
    np.testing.assert_allclose(found, network(windows).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_network() -> None:
    passages = [passage(seed) for seed in range(5)]
    first, again, other = (learnt(passages, seed) for seed in (1, 1, 2))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


def test_endings_are_of_what_was_heard_when_a_note_was_made_longer_since() -> None:
    """As leaving out what cut it does."""
    one = passage(0)
    network = learnt([one] * 5)
    longer = [Note(note.onset, note.offset + 5.0, note.pitch, 64) for note in one.found]
    was, found = (with_endings(of, network, FRAME) for of in (one, one._replace(found=longer)))
    assert [*was.endings] == [*found.endings]
    for place, ending in was.endings.items():
        assert found.endings[place].first == ending.first
        np.testing.assert_array_equal(found.endings[place].logits, ending.logits)


def test_notes_whose_end_is_nowhere_near_teach_nothing() -> None:
    one = passage(0)
    far = {place: EndHeard(end.first + 10_000, end.window) for place, end in one.ends.items()}
    with pytest.raises(DataError, match="too few notes were found to learn how they end"):
        learnt([one._replace(ends=far)] * 20)


def test_too_few_notes_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn how they end"):
        learnt([passage(0)])
