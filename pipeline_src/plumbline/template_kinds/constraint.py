"""The constraint `example`: replace the formulas by yours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import Constraint, ConstraintSpec, ProjectableConstraint
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class Example(Constraint):
    """The mean of a sample is given.

    Args:
        mean: the mean, in the data's unit.
    """

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def residual(self, x: Tensor) -> Tensor:
        """The mean of each sample (B, *S) less the given one, of shape (B, 1): zero on the feasible set."""
        return x.flatten(1).mean(dim=1, keepdim=True) - self.mean

    def project(self, x: Tensor) -> Tensor:
        """The nearest feasible sample. Without a formula, leave out this method and `provides` below."""
        return x - self.residual(x).view(-1, *(1 for _ in x.shape[1:]))


class ExampleSpec(ConstraintSpec):
    """The mean of a sample is given."""

    kind: Literal["example"] = "example"
    mean: float = key(default=0.0)
    """The mean, in the data's unit."""

    def build(self, example: xr.Dataset) -> Example:
        return Example(self.mean)

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)
