r"""Smooth equations h(x, known) = 0, where the user writes the function h.

The function takes a batch x (B, *S) and returns m residuals per sample, (B, m). The residual of a sample
must depend on that sample only. `known` holds the variables of the dataset that have one entry per sample.

The unit of the residual is the user's choice, so its size does not show how far a sample is from the
feasible set. The violation therefore estimates this distance from first derivatives, relative to the size
of the sample. With J = dh/dx and u = h / |h|,

    violation = |h| / (|J^T u| |x|).

|h| / |J^T u| is the length of the step along J^T u that reduces the linearised |h| to zero. For a single
equation it is the distance to the feasible set to first order. It does not change when h is multiplied by a
constant. If `scale`, a typical size of the residual, is given, then violation = max_j |h_j| / scale.

`project` finds the nearest point that satisfies the equations, by the method described in
`plumbline.constraints._nearest`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.constraints._known import per_sample
from plumbline.constraints._linearisation import (
    DenseLinearisation,
    Linearisation,
    MatrixFreeLinearisation,
)
from plumbline.constraints._nearest import is_large, nearest_points
from plumbline.constraints._report import ProjectionReport

if TYPE_CHECKING:
    import xarray as xr

ITERATIONS = 100


class Equations(Constraint):
    """h(x, known) = 0, for a differentiable function h of a batch.

    Args:
        residual: h, as `residual(x)` or `residual(x, known)`. It maps x (B, *S) to (B, m), or to (B,) for a
            single equation, by differentiable torch operations. It is called with any part of a batch, in
            the dtype of x or in double precision.
        known: variables with one entry per sample (B, ...), by name; `bind` replaces them.
        unit: unit of the residual.
        scale: typical size of the residual, for relative violations; None to use first derivatives instead.
        iterations: maximum number of iterations of the projection, each of which evaluates one Jacobian.
        matrix_free: whether the projection solves linear systems by conjugate gradients instead of storing
            the Jacobian; None chooses this for more than 256 equations or about half a million Jacobian
            entries per sample.

    Raises:
        TypeError: the residual cannot be called with `x`, or with `x` and `known`.
        ValueError: `scale` or `iterations` is not positive.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Equations
        >>> ellipse = Equations(lambda x: x[:, :1] ** 2 / 4 + x[:, 1:] ** 2 - 1)
        >>> x = torch.tensor([[4.0, 0.0], [1.0, 1.0]])
        >>> ellipse.project(x)
        tensor([[2.0000, 0.0000],
                [0.9657, 0.8757]])
        >>> ellipse.project_with_report(x).converged
        tensor([True, True])
    """

    smooth = True

    def __init__(
        self,
        residual: Callable[..., Tensor],
        *,
        known: Mapping[str, Tensor] | None = None,
        unit: str = "1",
        scale: float | None = None,
        iterations: int = ITERATIONS,
        matrix_free: bool | None = None,
    ) -> None:
        if scale is not None and not scale > 0:
            raise ValueError(f"`scale` must be positive, found {scale}: give a typical size of the residual.")
        if iterations < 1:
            raise ValueError(f"`iterations` must be at least 1, found {iterations}.")
        self.function = residual
        self.takes_known = _takes_known(residual)
        self.known = dict(known or {})
        self.unit = unit
        self.scale = scale
        self.iterations = iterations
        self.matrix_free = matrix_free

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Equations:
        """The equations with the variables of these samples, except `state`, as `known`.

        A function without an argument `known` is left as it is.
        """
        if not self.takes_known:
            return self
        bound = copy.copy(self)
        bound.known = per_sample(known)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> Equations:
        chosen = copy.copy(self)
        chosen.known = {name: values[which.to(values.device)] for name, values in self.known.items()}
        return chosen

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """h(x, known), in the unit of the residual.

        Raises:
            ValueError: the function does not return one row of real numbers per sample.
        """
        return self._called(x, None)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The first-order distance to the feasible set over the norm of the sample; if `scale` is given, the
        largest |residual| over `scale`.
        """
        if not len(x):
            return x.new_zeros(0)
        if self.scale is not None:
            return self.residual(x).abs().amax(1) / self.scale
        graph = torch.is_grad_enabled() and x.requires_grad
        with torch.inference_mode(False), torch.enable_grad():
            z = x.double() if graph else x.detach().double().clone().requires_grad_()
            h = self._called(z, None)
            size = _norm(h)
            along = h.detach() / size.detach().clamp(min=torch.finfo(h.dtype).tiny)[:, None]
            (step,) = torch.autograd.grad(h, z, along, create_graph=graph, materialize_grads=True)
            steepness = _norm(step.flatten(1)) * _norm(z.flatten(1))
            found = size / steepness.clamp(min=torch.finfo(h.dtype).tiny)
            return (found if graph else found.detach()).to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest feasible point of each sample, in the dtype of x.

        A warning counts the samples that did not converge. The point is a local minimum of the distance, so
        another feasible point may be nearer. The result is not differentiable with respect to x.
        """
        report = self.project_with_report(x)
        report.warn("equations")
        return report.points

    def project_with_report(self, x: Float[Tensor, "B *S"]) -> ProjectionReport:
        """The nearest feasible points, with iterations, residual and outcome of each sample."""
        flat = x.flatten(1)
        if not len(x):
            none = flat.new_zeros(0, dtype=torch.float64)
            return ProjectionReport(x, none.long(), none, none, none.long())
        with torch.no_grad():
            rows = self._called(x.double(), None).shape[1]

        def function(z: Tensor, which: Tensor) -> Tensor:
            return self._called(z.view(len(z), *x.shape[1:]), which)

        return nearest_points(
            function, x, rows=rows, iterations=self.iterations, matrix_free=self.matrix_free
        )

    def jacobian_products(self, x: Float[Tensor, "B *S"]) -> Linearisation:
        """h and its Jacobian J at the flattened samples, in double precision.

        `apply` returns J v, and `adjoint` returns J^T y.
        """

        def function(z: Tensor) -> Tensor:
            return self._called(z.view(len(z), *x.shape[1:]), None)

        points = x.detach().flatten(1).double()
        with torch.no_grad():
            rows = function(points).shape[1]
        free = is_large(rows, points.shape[1]) if self.matrix_free is None else self.matrix_free
        return MatrixFreeLinearisation(function, points) if free else DenseLinearisation(function, points)

    def _called(self, x: Tensor, which: Tensor | None) -> Tensor:
        """The residuals (b, m) of samples x with the indices `which` in the bound batch, None for all."""
        named = {"known": self._known_of(x, which)} if self.takes_known else {}
        try:
            found = self.function(x, **named)
        except (RuntimeError, TypeError, KeyError, IndexError) as error:
            names = f" and `known` with {', '.join(self.known) or 'no variables'}" if self.takes_known else ""
            error.add_note(
                f"raised by the residual {_name(self.function)}, called with x of shape {tuple(x.shape)}, "
                f"dtype {x.dtype}{names}"
            )
            raise
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape[:1] != x.shape[:1]:
            shown = (
                f"{tuple(found.shape)} of {found.dtype}"
                if isinstance(found, Tensor)
                else type(found).__name__
            )
            raise ValueError(
                f"the residual {_name(self.function)} must return a tensor of real numbers ({len(x)}, m), "
                f"one row per sample, found {shown}."
            )
        return found.reshape(len(found), found.shape[1:].numel())

    def _known_of(self, x: Tensor, which: Tensor | None) -> dict[str, Tensor]:
        found = {}
        for name, values in self.known.items():
            values = values.to(x.device)
            if which is not None:
                values = values[which.to(x.device)]
            elif len(values) != len(x):
                raise ValueError(
                    f"{len(values)} entries of {name!r} are bound for {len(x)} samples: bind the variables "
                    "of these samples with `bind`."
                )
            found[name] = values.to(x.dtype) if values.is_floating_point() else values
        return found


def _takes_known(function: Callable[..., Tensor]) -> bool:
    """Whether the function has an argument `known`."""
    try:
        signature = inspect.signature(getattr(function, "forward", function))
    except (TypeError, ValueError):
        return False
    named = {"known": None} if "known" in signature.parameters else {}
    try:
        signature.bind(None, **named)
    except TypeError as error:
        raise TypeError(
            f"the residual {_name(function)} must take `x`, or `x` and `known`, found the signature "
            f"{signature}: give other arguments default values, or bind them with `functools.partial`."
        ) from error
    return bool(named)


def _name(function: Callable[..., Tensor]) -> str:
    return f"`{getattr(function, '__qualname__', type(function).__name__)}`"


def _norm(values: Float[Tensor, "B n"]) -> Float[Tensor, " B"]:
    return values.norm(dim=1)
