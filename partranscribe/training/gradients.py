"""Gradients of batches, which on a CPU are divided among processes: threads wait for each other too often."""

from __future__ import annotations

from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing import get_context

from .. import child_process
from ..errors import PartranscribeError
from .data import Crop
from .memory import keep_freed_memory
from .objective import Objective, batch_norms


class HelperError(PartranscribeError):
    """A process that computed gradients ended."""


class Gradients:
    """Computes gradients of batches; used in a `with` statement, in which the weights are shared.

    What is drawn, such as dropout, is a function of the seed, the update and the number of processes.

    Args:
        objective: what is learnt.
        processes: that a batch is divided among, this one among them.
        seed: of what is drawn.
    """

    def __init__(self, objective: Objective, processes: int, seed: int) -> None:
        self._objective, self._seed = objective, seed
        self._helpers: list[_Helper] = []
        self._others, self._threads = processes - 1, torch.get_num_threads()

    def __enter__(self) -> Gradients:
        if self._others:
            self._objective.share_memory()
            self._helpers = [_Helper(self._objective) for _ in range(self._others)]
            torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for helper in self._helpers:
            helper.end()
        torch.set_num_threads(self._threads)

    def compute(self, update: int, batch: Crop) -> dict[str, float]:
        """Leave the gradients of a batch with the parameters, in place of those there; returns the losses.

        Raises:
            HelperError: a process ended.
        """
        parts = _divided(batch, 1 + self._others)
        counts = [self._objective.count(part) for part in parts]
        shares = [count / max(sum(counts), 1) for count in counts]
        random = np.random.default_rng((self._seed, update))
        on_its_own = bool(random.random() < self._objective.settings.own_context)
        seeds = random.integers(2**63, size=len(parts)).tolist()
        tasks = [_Task(*one, on_its_own) for one in zip(parts, shares, seeds, strict=True)]
        for helper, task in zip(self._helpers, tasks[1:], strict=True):
            helper.begin(task)
        losses = _learn(self._objective, tasks[0])
        for helper in self._helpers:
            for name, value in helper.finish().items():
                losses[name] += value
        return losses


def processes_for(objective: Objective, device: torch.device) -> int:
    """Among how many processes batches are divided; batch norms that measure need all crops of one."""
    settings = objective.settings
    if device.type != "cpu" or any(norm.training for norm in batch_norms(objective)):
        return 1
    return min(settings.processes or torch.get_num_threads(), settings.batch)


def _divided(batch: Crop, parts: int) -> list[Crop]:
    divided = [part.tensor_split(parts) for part in batch]
    return [Crop(*some) for some in zip(*divided, strict=True)]


class _Task(NamedTuple):
    """A part of a batch, its share of it, the seed of what is drawn, and where the context comes from."""

    crop: Crop
    share: float
    seed: int
    on_its_own: bool


def _learn(objective: Objective, task: _Task) -> dict[str, float]:
    """Leave gradients of a part of a batch with the parameters; its losses, by its share of the batch."""
    torch.manual_seed(task.seed)
    for parameter in objective.trained_parameters():
        parameter.grad = None
    losses = {name: task.share * one for name, one in objective(task.crop, task.on_its_own).items()}
    losses["loss"].backward()
    return {name: float(value.detach()) for name, value in losses.items()}


class _Helper:
    """A process that computes the gradients of one part of each batch, on one core."""

    def __init__(self, objective: Objective) -> None:
        self._parameters = _learnt(objective)
        self._gradients = torch.zeros(sum(one.numel() for one in self._parameters))
        self._gradients.share_memory_()  # type: ignore[no-untyped-call]
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, objective, self._gradients)
        self._process = context.Process(target=_help, args=arguments, name="gradients", daemon=True)
        child_process.start(self._process)
        theirs.close()

    def begin(self, task: _Task) -> None:
        """Have it compute the gradients of a part of a batch."""
        crop = [part.numpy() for part in task.crop]  # tensors would be shared, by a file each
        try:
            self._connection.send((crop, *task[1:]))
        except OSError as error:
            raise self._ended() from error

    def finish(self) -> dict[str, float]:
        """Add what it computed to the gradients of this process; returns the losses."""
        try:
            losses: dict[str, float] = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        parts = torch.split(self._gradients, [one.numel() for one in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            gradient = part.view_as(parameter)
            parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.add_(gradient)
        return losses

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _ended(self) -> HelperError:
        self._process.join(5)
        fact = f"a process that computed gradients ended with status {self._process.exitcode}"
        return HelperError(
            f"{fact}, as when memory runs out; set processes = 1, and start again: "
            "the run goes on from its last save"
        )


def _learnt(objective: Objective) -> list[nn.Parameter]:
    """The parameters that get gradients, in the order in which a process hands these over."""
    return [one for one in objective.trained_parameters() if one.requires_grad]


def _help(connection: Connection, objective: Objective, gradients: Tensor) -> None:
    """What such a process does."""
    child_process.end_with_parent()
    keep_freed_memory()
    torch.set_num_threads(1)
    parameters = _learnt(objective)
    while True:
        try:
            crop, *told = connection.recv()
        except EOFError:
            return
        losses = _learn(objective, _Task(Crop(*map(torch.from_numpy, crop)), *told))
        computed = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        torch.cat([one.flatten() for one in computed], out=gradients)
        connection.send(losses)
