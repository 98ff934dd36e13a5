r"""Equations h(z) = 0 and their Jacobian J at a batch of points, by reverse-mode differentiation.

The residual of sample i depends only on sample i. One backward pass through the whole batch therefore gives
J_i^T y_i for every sample. All products are computed from such passes:

- J^T y: one backward pass;
- J v: the map y -> J^T y is linear, and its backward pass with the cotangent v gives J v;
- the rows of J: backward passes with the m unit vectors, batched by `vmap`;
- sum_j lambda_j (second derivative of h_j) v: a backward pass through J^T lambda.

The function is only called with batches and differentiated in reverse mode, so its operations need no rules
for forward mode or `vmap`.

Let D hold the lengths of the rows of J. Systems with J J^T are solved in the scaled form D^{-1} J J^T D^{-1},
so the unit of a row does not matter:

- `DenseLinearisation` stores J and computes the Cholesky factor of D^{-1} J J^T D^{-1} + `RIDGE` I. One step
  of iterative refinement removes the effect of the ridge. The system stays solvable when rows depend on each
  other, provided that h does not contradict them.
- `MatrixFreeLinearisation` uses conjugate gradients. The row lengths are estimated by the root mean square
  of J w over `PROBES` standard normal vectors w, which are the same in every call.

Source: Nocedal and Wright, Numerical Optimization, 2nd edition, chapters 8 and 16,
https://doi.org/10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plumbline.linalg.iterative import conjugate_gradients

# Term added to the unit diagonal of D^{-1} J J^T D^{-1}.
RIDGE = 1e-12
# Squared pivot of the Cholesky factor below which rows count as dependent.
DEPENDENT = 1e-9
# Number of random vectors for estimating the row lengths.
PROBES = 8
# Relative residual at which conjugate gradients stop, and the maximum number of iterations.
SOLVED, MOST_ITERATIONS = 1e-12, 1000
# Number of Jacobian entries computed in one batched backward pass.
ROW_BATCH = 2**24


class Linearisation(ABC):
    """h, J and second derivatives of h at points z (b, n), one point per sample.

    Args:
        function: h: (b, n) -> (b, m), differentiable.
        points: z, in double precision.

    Attributes:
        residual: h(z) (b, m).
        lengths: the lengths of the rows of J (b, m), one where a row is zero.
        deficient: whether rows of J depend on each other, per sample (b,), as far as solving has shown.

    Raises:
        ValueError: torch cannot differentiate the result of the function with respect to the points.
    """

    lengths: Float[Tensor, "b m"]
    deficient: Bool[Tensor, " b"]

    def __init__(self, function: Callable[[Tensor], Tensor], points: Float[Tensor, "b n"]) -> None:
        with torch.enable_grad():
            self.points = points.detach().clone().requires_grad_()
            self._output = function(self.points)
        if not self._output.requires_grad:
            raise ValueError(
                "the residual does not depend on x, or was cut off from it (`detach`, `no_grad`, NumPy): "
                "write it with differentiable torch operations."
            )
        self.residual = self._output.detach()

    @abstractmethod
    def apply(self, v: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
        """J v."""

    @abstractmethod
    def adjoint(self, y: Float[Tensor, "b m"]) -> Float[Tensor, "b n"]:
        """J^T y."""

    @abstractmethod
    def solve(
        self, target: Float[Tensor, "b m"], damping: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b m"]:
        """(J J^T + damping D^2)^{-1} r, where D holds the lengths of the rows."""

    @property
    @abstractmethod
    def finite(self) -> Bool[Tensor, " b"]:
        """Whether h and J are finite, per sample."""

    def tangent(self, v: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """The part of v that is orthogonal to the rows of J."""
        return v - self.adjoint(self.solve(self.apply(v)))

    def curvature(self, multipliers: Float[Tensor, "b m"]) -> Callable[[Tensor], Tensor]:
        """The map v -> sum_j lambda_j (second derivative of h_j) v, for v (b, n)."""
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(
                self._output, self.points, multipliers, create_graph=True, materialize_grads=True
            )
        if not gradient.requires_grad:
            return torch.zeros_like

        def product(v: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(
                gradient, self.points, v, retain_graph=True, materialize_grads=True
            )
            return found

        return product


class DenseLinearisation(Linearisation):
    """A linearisation that stores J (b, m, n)."""

    def __init__(self, function: Callable[[Tensor], Tensor], points: Float[Tensor, "b n"]) -> None:
        super().__init__(function, points)
        self.jacobian = _rows(self._output, self.points)
        lengths = self.jacobian.norm(dim=2)
        self.lengths = torch.where(lengths > 0, lengths, 1.0)
        unit = self.jacobian / self.lengths[..., None]
        self._gram = unit @ unit.mT
        self._factor = self._factored(torch.zeros_like(self.points[:, 0]))
        self.deficient = self._factor.diagonal(dim1=1, dim2=2).square().amin(1) < DEPENDENT

    @property
    def finite(self) -> Bool[Tensor, " b"]:
        return torch.isfinite(self.residual).all(1) & torch.isfinite(self.lengths).all(1)

    def apply(self, v: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
        return (self.jacobian @ v[..., None]).squeeze(-1)

    def adjoint(self, y: Float[Tensor, "b m"]) -> Float[Tensor, "b n"]:
        return (y[:, None] @ self.jacobian).squeeze(1)

    def second_derivatives(self) -> Float[Tensor, "b m n n"]:
        """The second derivatives of each residual, with a batched backward pass for each residual."""
        with torch.enable_grad():
            gradients = [
                torch.autograd.grad(
                    self._output[:, j].sum(), self.points, create_graph=True, materialize_grads=True
                )[0]
                for j in range(self.residual.shape[1])
            ]
        return torch.stack([self._derivatives(gradient) for gradient in gradients], dim=1)

    def _derivatives(self, gradient: Float[Tensor, "b n"]) -> Float[Tensor, "b n n"]:
        if not gradient.requires_grad:  # the residual is linear
            return gradient.new_zeros(*gradient.shape, gradient.shape[1])
        return _rows(gradient, self.points)

    def solve(
        self, target: Float[Tensor, "b m"], damping: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b m"]:
        scaled = (target / self.lengths)[..., None]
        factor = self._factor if damping is None else self._factored(damping)
        solution = torch.cholesky_solve(scaled, factor)
        if damping is None:
            solution = solution + torch.cholesky_solve(scaled - self._gram @ solution, factor)
        return solution.squeeze(-1) / self.lengths

    def _factored(self, damping: Float[Tensor, " b"]) -> Float[Tensor, "b m m"]:
        added = (damping + RIDGE)[:, None].expand(self.lengths.shape)
        # A sample that is not finite gets the identity as a placeholder; its steps are not used.
        gram = torch.where(
            self.finite[:, None, None], self._gram, torch.eye(self._gram.shape[1]).to(self._gram)
        )
        return torch.linalg.cholesky_ex(gram + torch.diag_embed(added)).L


class MatrixFreeLinearisation(Linearisation):
    """A linearisation that never forms J, so it needs only the memory of a few backward passes."""

    def __init__(self, function: Callable[[Tensor], Tensor], points: Float[Tensor, "b n"]) -> None:
        super().__init__(function, points)
        with torch.enable_grad():
            self._cotangent = torch.zeros_like(self._output, requires_grad=True)
            (self._image,) = torch.autograd.grad(
                self._output, self.points, self._cotangent, create_graph=True, materialize_grads=True
            )
        g = torch.Generator().manual_seed(0)
        square = torch.zeros_like(self.residual)
        for _ in range(PROBES):
            probe = torch.randn(points.shape[1], generator=g, dtype=points.dtype).to(points.device)
            square += self.apply(probe.expand_as(points)).square() / PROBES
        self.lengths = torch.where(square > 0, square.sqrt(), 1.0)
        self.deficient = torch.zeros_like(self.points[:, 0], dtype=torch.bool)

    @property
    def finite(self) -> Bool[Tensor, " b"]:
        return torch.isfinite(self.residual).all(1) & torch.isfinite(self.lengths).all(1)

    def apply(self, v: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
        if not self._image.requires_grad:
            return torch.zeros_like(self.residual)
        (found,) = torch.autograd.grad(
            self._image, self._cotangent, v, retain_graph=True, materialize_grads=True
        )
        return found

    def adjoint(self, y: Float[Tensor, "b m"]) -> Float[Tensor, "b n"]:
        (found,) = torch.autograd.grad(
            self._output, self.points, y, retain_graph=True, materialize_grads=True
        )
        return found

    def solve(
        self, target: Float[Tensor, "b m"], damping: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b m"]:
        finite = self.finite[:, None]
        added = 0.0 if damping is None else damping[:, None]

        def scaled(y: Tensor) -> Tensor:
            image = self.apply(self.adjoint(y / self.lengths)) / self.lengths + added * y
            return torch.where(finite, image, y)

        scaled_target = torch.where(finite, target / self.lengths, 0.0)
        solution, solved = conjugate_gradients(
            scaled, scaled_target, tolerance=SOLVED, iterations=MOST_ITERATIONS
        )
        if damping is None:
            self.deficient = self.deficient | ~solved
        return solution / self.lengths


def log_volume(jacobian: Float[Tensor, "b m n"]) -> Float[Tensor, " b"]:
    """log det(J J^T) / 2 of each sample, with the rows scaled to unit length first; differentiable."""
    lengths = jacobian.norm(dim=2).clamp(min=torch.finfo(jacobian.dtype).tiny)
    unit = jacobian / lengths[..., None]
    gram = unit @ unit.mT + RIDGE * torch.eye(jacobian.shape[1]).to(jacobian)
    return torch.linalg.slogdet(gram).logabsdet / 2 + lengths.log().sum(1)


def _rows(output: Float[Tensor, "b m"], points: Float[Tensor, "b n"]) -> Float[Tensor, "b m n"]:
    """The Jacobian of each sample, with its rows computed in batched backward passes."""
    b, m = output.shape
    rows = points.new_zeros(m, *points.shape)
    for part in torch.arange(m, device=points.device).split(max(1, ROW_BATCH // max(1, points.numel()))):
        cotangents = torch.zeros(len(part), b, m, dtype=output.dtype, device=output.device)
        cotangents[torch.arange(len(part), device=part.device), :, part] = 1.0
        rows[part] = _products(output, points, cotangents)
    return rows.movedim(0, 1)


def _products(output: Tensor, points: Tensor, cotangents: Tensor) -> Tensor:
    """Backward passes with k cotangents (k, b, m), one by one if an operation cannot be batched."""
    try:
        (found,) = torch.autograd.grad(
            output, points, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    except RuntimeError:
        each = [
            torch.autograd.grad(output, points, cotangent, retain_graph=True, allow_unused=True)[0]
            for cotangent in cotangents
        ]
        found = None if each[0] is None else torch.stack(each)
    return points.new_zeros(len(cotangents), *points.shape) if found is None else found
