"""Equations h(x) = 0 by a function of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, ProjectableConstraint
from plumbline.spec import key
from plumbline.user_code import UserFunction

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._equations import Equations


class EquationsSpec(ConstraintSpec):
    """h(x, known) = 0, for a differentiable function h of batches of samples, written in PyTorch."""

    smooth: ClassVar[bool] = True

    kind: Literal["equations"] = "equations"
    function: UserFunction
    """The function, as `file.py:name`: `residual(x)` or `residual(x, known)` from samples x (B, ...) to
    residuals (B, m). `known` holds the dataset's variables that have one entry a sample, by name.
    """
    unit: str = "1"
    """Unit of the residual."""
    scale: float | None = key("unit of the residual", gt=0, default=None)
    """A size of the residual that violations are relative to; null for the first-order distance relative to
    the sample.
    """
    iterations: int = key(ge=1, default=100)
    """Most iterations of a projection, each with one Jacobian."""

    def build(self, example: xr.Dataset) -> Equations:
        import torch

        from plumbline.constraints._equations import Equations

        made = Equations(self.function.load(), unit=self.unit, scale=self.scale, iterations=self.iterations)
        # What the function cannot do shows on two samples, alone and together.
        first = example.isel(sample=slice(0, 2))
        state = torch.as_tensor(first["state"].values, dtype=torch.float64)
        together = made.bind(first).residual(state)
        alone = made.bind(first.isel(sample=slice(0, 1))).residual(state[:1])
        if alone.shape != together[:1].shape or not torch.allclose(
            alone, together[:1], rtol=1e-6, atol=1e-9 * float(together.abs().max()), equal_nan=True
        ):
            raise ValueError(
                f"`{self.kind}`: `function`: the residual of a sample must depend on this sample alone, "
                f"and {self.function.name!r} "
                f"gives the first sample other residuals in a batch of {len(state)} than alone: reduce "
                "over the dimensions of a "
                f"sample, never over the first one."
            )
        return made

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)
