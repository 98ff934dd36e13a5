r"""The denoiser's Gaussian posterior, conditioned on A x = k at every evaluation.

A denoiser says x | x_t is about N(m, V). Given the constraint, its mean is

    m' = m + V A^T (A V A^T)^{-1} (k - A m),

and the sampler goes on with m'. Were the posterior exactly Gaussian, this would be the score of the
constrained distribution. Two choices of V:

- `isotropic`: V = sigma_t^2 / (alpha_t^2 + sigma_t^2) times the square of the data's scale, which is the
  posterior variance of a standardised coordinate that is independent of the others. A structured A keeps
  its structure.
- `tweedie`: V = (sigma_t^2 / alpha_t) dm/dx_t, the exact posterior covariance, from one backward pass a row
  of A. For few rows (moment matching posterior sampling, Rozet et al., NeurIPS 2024, without noise). The
  derivative of a learned m is neither symmetric nor positive, and where the model nearly knows A x already,
  A V A^T is small and its inverse all error. `shrinkage` s mixes in s times the isotropic covariance, and keeps
  the eigenvalues of A V A^T, relative to the isotropic ones, at s at least.

At the end the samples are projected in double precision, which removes the rounding of single precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plumbline.samplers import ConstrainedSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor


class ConditionedSpec(ConstrainedSpec):
    """Conditioning: each denoised estimate becomes the posterior mean given the constraint."""

    kind: Literal["conditioned"] = "conditioned"
    enforces: ClassVar[bool] = True
    covariance: Literal["isotropic", "tweedie"] = key(default="isotropic")
    """Posterior covariance that decides where a correction goes."""
    shrinkage: float = key(ge=0, le=1, default=0.1)
    """Share of the isotropic covariance in the Tweedie one; zero for an exact denoiser."""

    def requires(self) -> tuple[str, ...]:
        return ("condition", "project") if self.covariance == "isotropic" else ("matrix", "project")

    def differentiates(self) -> bool:
        return self.covariance == "tweedie"

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.corrected_denoiser import CorrectedDenoiser

        correction = {"isotropic": self._isotropic_mean, "tweedie": self._tweedie_mean}[self.covariance]
        return self.denoising_base().build(CorrectedDenoiser(denoiser, correction, problem), problem)

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        problem.costs.projection_solves += 1
        return problem.constraints[self.constraint].project(self.base.finish(x, problem))

    def _isotropic_mean(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, problem: Problem, **conditions: Any
    ) -> Tensor:
        mean = problem.decode(denoiser(x_t, t, **conditions).mean)
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
        alpha, sigma = denoiser.schedule(t)
        # All covariances are in units of sigma^2 / alpha.
        isotropic = (alpha / (alpha**2 + sigma**2)).double() * rows.flatten(1).double()
        columns = columns.flatten(2).movedim(0, 2).double() + self.shrinkage * isotropic.mT
        gram = _bounded_below(
            rows.flatten(1).double() @ columns, isotropic @ rows.flatten(1).double().mT, self.shrinkage
        )
        shortfall = constraint.shortfall(problem.decode(mean.detach()).flatten(1))
        multipliers = torch.linalg.solve(gram, shortfall[..., None])
        return mean.detach() + (columns @ multipliers).squeeze(-1).view_as(mean).to(mean.dtype)


# Share of the isotropic covariance under which rounding decides.
LEAST_SHARE = 1e-6


def _bounded_below(gram: Tensor, isotropic: Tensor, share: float) -> Tensor:
    """The symmetric part of `gram` (B, r, r), its eigenvalues relative to `isotropic` (r, r) raised to `share`."""
    import torch

    factor = torch.linalg.cholesky(isotropic)
    whitened = torch.linalg.solve_triangular(factor, (gram + gram.mT) / 2, upper=False)
    whitened = torch.linalg.solve_triangular(factor, whitened.mT, upper=False)
    values, vectors = torch.linalg.eigh((whitened + whitened.mT) / 2)
    raised = vectors * values.clamp(min=max(share, LEAST_SHARE))[..., None, :] @ vectors.mT
    return factor @ raised @ factor.mT
