"""Equations h(x) = 0, given by a function that the user writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint
from plumbline.spec import key
from plumbline.user_code import UserFunction

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._equations import Equations


class EquationsSpec(ConstraintSpec):
    """h(x, known) = 0 for a differentiable PyTorch function h of a batch of samples."""

    smooth: ClassVar[bool] = True

    kind: Literal["equations"] = "equations"
    function: UserFunction
    """The function, as `file.py:name`. It is called as `residual(x)` or `residual(x, known)` and maps samples
    x (B, ...) to residuals (B, m). `known` holds the dataset's variables with one entry per sample, by name.
    """
    unit: str = "1"
    """Unit of the residual."""
    scale: float | None = key("unit of the residual", gt=0, default=None)
    """Typical size of the residual, for relative violations; null to use the first-order distance to the
    feasible set, relative to the size of the sample, instead.
    """
    iterations: int = key(ge=1, default=100)
    """Maximum number of iterations of a projection, each of which evaluates one Jacobian."""

    def build(self, example: xr.Dataset) -> Equations:
        import torch

        from plumbline.constraints._equations import Equations

        made = Equations(self.function.load(), unit=self.unit, scale=self.scale, iterations=self.iterations)
        # Two samples show whether the function fails or mixes the samples of a batch.
        first = example.isel(sample=slice(0, 2))
        state = torch.as_tensor(first["state"].values, dtype=torch.float64)
        together = made.bind(first).residual(state)
        alone = made.bind(first.isel(sample=slice(0, 1))).residual(state[:1])
        if alone.shape != together[:1].shape or not torch.allclose(
            alone, together[:1], rtol=1e-6, atol=1e-9 * float(together.abs().max()), equal_nan=True
        ):
            raise ValueError(
                f"`{self.kind}`: `function`: the residual of a sample must depend only on this sample, found "
                f"that {self.function.name!r} gives the first sample other residuals in a batch of "
                f"{len(state)} than alone: do not reduce over the first dimension."
            )
        return made

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)
