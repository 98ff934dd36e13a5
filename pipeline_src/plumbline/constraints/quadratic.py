"""Quadratic equations: ellipses, ellipsoids, products of coordinates, energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._equations import Equations


class QuadraticSpec(ConstraintSpec):
    """x^T Q_j x / 2 + b_j . x + c_j = 0 on the flattened sample, for j = 1 ... m."""

    smooth: ClassVar[bool] = True

    kind: Literal["quadratic"] = "quadratic"
    matrices: str | list[list[list[float]]]
    """The symmetric Q_j: m matrices of n rows, or the name of a variable (m, n, n) of the dataset."""
    vectors: str | list[list[float]]
    """The b_j: m rows, or the name of a variable (m, n) of the dataset."""
    constants: str | list[float]
    """The c_j: m numbers, or the name of a variable (m,) of the dataset."""
    scale: float | None = key("unit of the residual", gt=0, default=None)
    """Typical size of the residual, for relative violations; null to use the first-order distance to the
    feasible set, relative to the size of the sample, instead.
    """
    iterations: int = key(ge=1, default=100)
    """Maximum number of iterations of a projection, each of which evaluates one Jacobian."""

    def build(self, example: xr.Dataset) -> Equations:
        import torch

        from plumbline.constraints._equations import Equations
        from plumbline.constraints._known import variable_of
        from plumbline.constraints._quadratic import Quadratic

        def values(name: str) -> torch.Tensor:
            given = getattr(self, name)
            if isinstance(given, str):
                given = variable_of(example, given, f"`{self.kind}`: `{name}`").values
            return torch.as_tensor(given, dtype=torch.float64)

        function = Quadratic(values("matrices"), values("vectors"), values("constants"))
        function.require(example["state"][0].size)
        return Equations(function, scale=self.scale, iterations=self.iterations)

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)
