"""The fast way through the frames gives what the plain one gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conftest import TINY, random_context, swelling_noise
from partranscribe.config import ModelConfig
from partranscribe.model import LastFrame, Par
from partranscribe.stepper import PitchwiseStepper, Stepper, stepper_for
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.windows import Features

FRAMES = 40


@pytest.mark.parametrize("head", ["full", "compact"])
def test_fast_and_plain_steps_agree(head: str, lively: Par) -> None:
    torch.manual_seed(0)
    tiny = replace(TINY.model, hidden_per_pitch=5, lstm_units=7)
    model = lively if head == "compact" else Par(replace(tiny, head="full")).eval()
    last = random_context(1, FRAMES)
    with torch.inference_mode():
        mel = TorchLogMel(TINY.front_end)(torch.from_numpy(swelling_noise(1, 512 * FRAMES - 1)))
        features = model.features(mel.unsqueeze(0))
        plain, fast = Stepper(model), PitchwiseStepper(model)
        state = model.initial_state()
        memories = [plain.remember(state), fast.remember(state)]
        inputs = zip(plain.inputs(features), fast.inputs(features), strict=True)
        for frame, both in enumerate(inputs):
            before = LastFrame(*(part[:, [frame]] for part in last))
            expected, memories[0] = plain.step(both[0], before, memories[0])
            found, memories[1] = fast.step(both[1], before, memories[1])
            torch.testing.assert_close(found.states, expected.states, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found.velocity, expected.velocity, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(fast.state(memories[1]), plain.state(memories[0]), atol=1e-5, rtol=1e-5)


def test_memory_and_state_are_each_other_s_inverse(lively: Par) -> None:
    torch.manual_seed(0)
    state = lively.initial_state()
    random = type(state)(*((torch.randn_like(hidden), torch.randn_like(cell)) for hidden, cell in state))
    fast = PitchwiseStepper(lively)
    assert_same = torch.testing.assert_close
    assert_same(fast.state(fast.remember(random)), random, atol=0, rtol=0)


def test_inputs_of_a_frame_do_not_depend_on_how_many_there_are(lively: Par) -> None:
    hidden = TINY.model.hidden_per_pitch
    torch.manual_seed(0)
    features = Features(*(torch.randn(1, FRAMES, 88, hidden) for _ in range(2)))
    fast = PitchwiseStepper(lively)
    whole = torch.stack(list(fast.inputs(features)))
    for count in (1, 2, 7, 33):
        part = fast.inputs(Features(features.note[:, :count], features.velocity[:, :count]))
        assert torch.equal(torch.stack(list(part)), whole[:count])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, PitchwiseStepper),
        ({"head": "full"}, PitchwiseStepper),
        ({"pitchwise": False}, Stepper),
        ({"context": "state"}, Stepper),
        ({"context": "none"}, Stepper),
    ],
)
def test_ablations_take_the_plain_way(changes: dict[str, object], kind: type[Stepper]) -> None:
    config: ModelConfig = replace(TINY.model, **changes)  # type: ignore[arg-type]
    assert type(stepper_for(Par(config).eval())) is kind
