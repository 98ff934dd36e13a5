"""Constraints: how far a sample is from the feasible set and, where there is a way, how to get there.

One object serves the method and the metric, so that no stencil can differ between them. Constraints work
on the data's own units, on any device, in batches, and without a Python loop over samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from plumbline._lazy import exports
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class InfeasibleConstraintError(ValueError):
    """No point satisfies the constraint."""


def smallest_number(x: Tensor) -> float:
    """The smallest normal number of a tensor's type, to divide by in place of zero."""
    import torch

    return torch.finfo(x.dtype).tiny


class Constraint(ABC):
    """A constraint on samples x of shape (B, ...).

    A constraint that can also has `project(x)`, the nearest feasible point, and for linear ones
    `condition(mean, variance)`, the Gaussian given that the constraint holds.
    """

    unit: str = "1"
    """Unit of the residual."""
    tolerance: float = 1e-6
    """Relative violation under which a sample counts as feasible."""

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Signed residuals (B, ...), zero on the feasible set; differentiable."""

    def distance(self, x: Tensor) -> Tensor:
        """Mean absolute residual of each sample (B,); differentiable."""
        return self.residual(x).abs().flatten(1).mean(1)

    def violation(self, x: Tensor) -> Tensor:
        """The relative violation of each sample (B,), without a unit: its largest absolute residual over its largest absolute value.

        Constraints whose residual has another unit than the sample divide by a size of that unit.
        """
        residual, size = (values.abs().flatten(1).amax(1) for values in (self.residual(x), x))
        return residual / size.clamp(min=smallest_number(x))

    def satisfied(self, x: Tensor) -> Tensor:
        """Whether each sample (B,) is feasible to the tolerance."""
        return self.violation(x) <= self.tolerance

    def bind(self, known: Mapping[Any, Any] | xr.Dataset) -> Constraint:
        """The constraint bound to the targets of these samples, where it has one a sample.

        Args:
            known: the variables of the samples, arrays or tensors by name.
        """
        return self

    def bind_models(self, models: Mapping[str, Any]) -> Constraint:
        """The constraint with the trained models, by name, that it measures by, if it is a learned one."""
        return self


class ProjectableConstraint(Protocol):
    """A constraint whose nearest feasible point is known (`project` among what a kind provides)."""

    def project(self, x: Tensor) -> Tensor:
        """The nearest feasible point of each sample (B, ...)."""
        ...


class ConditionableConstraint(ProjectableConstraint, Protocol):
    """A linear equality A x = k (`condition` among what a kind provides; `matrix` too, where A can be formed)."""

    @property
    def matrix(self) -> Tensor:
        """A (m, n)."""
        ...

    def condition(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, ...) of a Gaussian given that A x = k."""
        ...

    def complete(self, x: Tensor) -> Tensor:
        """The samples (B, ...) with their last coordinates solved for."""
        ...

    def independent_residual(self, x: Tensor) -> Tensor:
        """A x - k (B, r) of flattened samples (B, n), in the rows of `matrix`, in double precision."""
        ...


class ConstraintSpec(Kind):
    """Base of the constraint kinds."""

    def build(self, example: xr.Dataset) -> Constraint:
        """The constraint for samples like those of `example`, a dataset with its coordinates and attributes."""
        raise NotImplementedError

    def depends_on(self) -> dict[str, str]:
        """The study's models that it measures by, and what it needs of each."""
        return {}

    def provides(self) -> tuple[str, ...]:
        """What samplers can ask of it beyond residual and distance: `project`, `condition`, `matrix`."""
        return ()


AnyConstraint = Annotated[ConstraintSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "_linear_equality": ("LinearEquality",),
        "_burgers_residual": (
            "BurgersResidual",
            "BurgersDifferences",
        ),
        "_kolmogorov_residual": ("KolmogorovResidual",),
        "_divergence_free": (
            "DivergenceFree",
            "BackwardDivergence",
        ),
        "_tiling": ("Tiling",),
        "_learned_count": ("LearnedCount",),
        "_rows": ("IllConditionedError",),
        "burgers_residual": ("BurgersResidualSpec",),
        "divergence_free": ("DivergenceFreeSpec",),
        "kolmogorov_residual": ("KolmogorovResidualSpec",),
        "learned_count": ("LearnedCountSpec",),
        "linear_equality": ("LinearEqualitySpec",),
        "sum": ("SumSpec",),
        "tiling": ("TilingSpec",),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
