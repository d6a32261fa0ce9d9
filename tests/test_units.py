"""What small networks of one hidden layer give, however much they are given at once."""

from __future__ import annotations

import numpy as np
import pytest

from partranscribe.units import Units


@pytest.mark.parametrize("hidden", [8, 512])
@pytest.mark.parametrize("notes", [0, 1, 2, 30, 1001])
def test_the_sum_is_that_of_the_formula(notes: int, hidden: int) -> None:
    rng = np.random.default_rng(notes)
    units = Units(*(rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((hidden, 12), hidden, hidden)))
    which = np.eye(3, dtype=np.float32)
    of_choice, of_note = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((notes, 3, 5), (notes, 4)))
    whole = np.concatenate(
        (np.broadcast_to(which, (notes, 3, 3)), of_choice, np.repeat(of_note[:, None], 3, axis=1)), axis=2
    )
    wanted = np.tanh(whole.astype(float) @ units.weight.T + units.bias) @ units.output
    np.testing.assert_allclose(units.sum(which, of_choice, of_note[:, None]), wanted, atol=1e-4)
    np.testing.assert_allclose(units.sum(whole), wanted, atol=1e-4)
    np.testing.assert_allclose(units.sum(whole[:, 0]), wanted[:, 0], atol=1e-4)


def test_what_is_given_stays_as_it_is() -> None:
    units = Units(np.ones((2, 1), np.float32), np.zeros(2, np.float32), np.ones(2, np.float32))
    features = np.full((5, 1), 0.5, np.float32)
    units.sum(features)
    assert features.tolist() == [[0.5]] * 5
    assert units.bias.tolist() == [0, 0]
