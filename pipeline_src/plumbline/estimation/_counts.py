"""What a function computes: counted on fake tensors of its full size, or on few real samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from plumbline.estimates import NOTHING, Work
from plumbline.estimation._meter import Meter
from plumbline.solvers import burgers, kolmogorov

SMALL, TWICE = 2, 4
"""Numbers of real samples that a computation is counted on where it cannot run on fake ones."""


@dataclass(frozen=True)
class Count:
    """What one run of a function does.

    Attributes:
        work: its work.
        peak: its largest memory, in bytes, without what existed before.
        evaluations: network evaluations of a sampler.
    """

    work: Work = NOTHING
    peak: float = 0.0
    evaluations: float = 0.0

    def combined(self, other: Count, weight: float) -> Count:
        """This count plus the difference of the other one from it, times a weight."""
        work = self.work.plus(other.work.plus(self.work.times(-1)).times(weight))
        return Count(
            Work(*(max(0.0, value) for value in work)),
            max(0.0, self.peak + weight * (other.peak - self.peak)),
            max(0.0, self.evaluations + weight * (other.evaluations - self.evaluations)),
        )


class _Mode(FakeTensorMode):
    """The mode of fake tensors, which models that copy themselves share."""

    def __deepcopy__(self, memo: dict[int, object]) -> _Mode:
        # Each fake tensor refers to its mode. A copy of the mode would free the memory of tensors twice.
        return self


@dataclass
class Fake:
    """Models and tensors with shapes and no values, all of one mode."""

    mode: FakeTensorMode = field(default_factory=lambda: _Mode(allow_non_fake_inputs=True))
    _known: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def tensors(self, like: dict[str, Tensor], samples: int) -> dict[str, Tensor]:
        """Tensors (samples, ...) by name, alike in everything but their number."""
        with self.mode:
            return {name: torch.empty(samples, *x.shape[1:], dtype=x.dtype) for name, x in like.items()}

    def take_values(self, model: nn.Module) -> nn.Module:
        """Replaces the parameters and buffers of a model, in place; shared ones stay shared."""
        for module in model.modules():
            own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for tensors in own:
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = self._fake(tensor)
        return model

    def _fake(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._known:
            found: Tensor = self.mode.from_tensor(tensor.detach())
            if isinstance(tensor, nn.Parameter):
                found = nn.Parameter(found, requires_grad=tensor.requires_grad)
            # The original is kept, so that its id is not given to another tensor.
            self._known[id(tensor)] = (found, tensor)
            self._known[id(found)] = (found, found)
        return self._known[id(tensor)][0]

    def count(self, run: Callable[[], float | None]) -> Count:
        """Counts a run on fake tensors.

        Conditions that depend on values are true; if that raises an error, they are false.

        Raises:
            Exception: the function needs values.
        """
        try:
            return _counted(run, self.mode, True)
        except Exception:
            return _counted(run, self.mode, False)
        finally:
            _forget_constants()


def _forget_constants() -> None:
    """Empties the caches of the solvers: what they computed among fake tensors has no values either."""
    for solver in (burgers, kolmogorov):
        for function in vars(solver).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def _counted(run: Callable[[], float | None], mode: FakeTensorMode, answer: bool) -> Count:
    with mode, Meter(answer) as meter:
        evaluations = run()
    return Count(meter.work, meter.peak, evaluations or 0.0)


def count_real(run: Callable[[int], float | None], samples: int) -> Count:
    """Counts runs on few real samples, and extrapolates them linearly to `samples`."""
    found = []
    for few in (SMALL, TWICE):
        with Meter() as meter:
            evaluations = run(few)
        found.append(Count(meter.work, meter.peak, evaluations or 0.0))
    whole = found[0].combined(found[1], (samples - SMALL) / (TWICE - SMALL))
    # Operations work on all samples at once: a larger number does not mean more of them.
    operations = max(one.work.operations for one in found)
    return Count(whole.work._replace(operations=operations), whole.peak, found[1].evaluations)
