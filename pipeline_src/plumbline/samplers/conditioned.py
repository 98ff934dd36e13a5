r"""The denoiser's Gaussian posterior, conditioned on A x = k at every evaluation.

A denoiser says x | x_t is about N(m, V). Given the constraint, its mean is

    m' = m + V A^T (A V A^T)^{-1} (k - A m),

and the sampler goes on with m'. Were the posterior exactly Gaussian, this would be the score of the
constrained distribution. Two choices of V:

- `isotropic`: V = sigma_t^2 / (alpha_t^2 + sigma_t^2) times the square of the data's scale, which is the
  posterior variance of a standardised coordinate that is independent of the others. A structured A keeps
  its structure.
- `tweedie`: V = (sigma_t^2 / alpha_t) dm/dx_t, the exact posterior covariance, from one backward pass a row
  of A. For few rows (`moment matching posterior sampling`, Rozet et al., NeurIPS 2024, without noise).

At the end the samples are projected in double precision, which removes the rounding of single precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import ConstrainedSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor


class ConditionedSpec(ConstrainedSpec):
    """Conditioning: each denoised estimate becomes the posterior mean given the constraint."""

    kind: Literal["conditioned"] = "conditioned"
    covariance: Literal["isotropic", "tweedie"] = key(default="isotropic")
    """Posterior covariance that decides where a correction goes."""

    def requires(self) -> tuple[str, ...]:
        return ("condition", "project") if self.covariance == "isotropic" else ("matrix", "project")

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.corrected_denoiser import CorrectedDenoiser

        correction = {"isotropic": self._isotropic_mean, "tweedie": self._tweedie_mean}[self.covariance]
        return self.base.build(CorrectedDenoiser(denoiser, correction, problem), problem)

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        problem.costs.projection_solves += 1
        return problem.constraints[self.constraint].project(self.base.finish(x, problem))

    def _isotropic_mean(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, problem: Problem, **conditions: Any
    ) -> Tensor:
        mean = problem.space.decode(denoiser(x_t, t, **conditions).mean)
        alpha, sigma = denoiser.schedule(t)
        variance = (sigma**2 / (alpha**2 + sigma**2) * problem.space.scale**2).expand(mean.shape[1:])
        problem.costs.projection_solves += 1
        conditional_mean, _ = problem.constraints[self.constraint].condition(mean, variance)
        return problem.space.encode(conditional_mean)

    def _tweedie_mean(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, problem: Problem, **conditions: Any
    ) -> Tensor:
        import torch

        constraint = problem.constraints[self.constraint]
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            mean = denoiser(x_t, t, **conditions).mean
            rows = (constraint.matrix.to(mean) * problem.space.scale.flatten()).view(-1, 1, *mean.shape[1:])
            cotangents = rows.expand(-1, *mean.shape).contiguous()
            (columns,) = torch.autograd.grad(mean, x_t, cotangents, is_grads_batched=True)
        problem.costs.backward_passes += len(rows)
        problem.costs.projection_solves += 1
        columns = columns.flatten(2).movedim(0, 2).double()
        gram = rows.flatten(1).double() @ columns
        shortfall = constraint.shortfall(problem.space.decode(mean.detach()))
        # Exact dm/dx_t is symmetric and positive; a learned one nearly so.
        gram = (gram + gram.mT) / 2
        ridge = 1e-6 * gram.diagonal(dim1=-2, dim2=-1).abs().amax(-1)[:, None, None]
        gram = gram + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        multipliers = torch.linalg.solve(gram, shortfall[..., None])
        return mean.detach() + (columns @ multipliers).squeeze(-1).view_as(mean).to(mean.dtype)
