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
  derivative of a learned m is neither symmetric nor positive, and its error is multiplied by the noise. So it is used
  where sigma_t / alpha_t < 1 in standardised units, where models are trained most, and `isotropic` above.
  `shrinkage` s gives the isotropic covariance the weight s, the other one 1 - s. Zero says that the denoiser is
  exact: the Tweedie covariance is then used at every noise.

Of the Tweedie covariance, conditioning needs the columns V A^T. Whatever the derivative is, they are made those of a
covariance: along the rows of A, variances are at least s (or `LEAST_SHARE`) times the isotropic one and at most the
total variance n of standardised data, and no covariance is larger than the root of the product of two variances.

At the end the samples are projected in double precision, which removes the rounding of single precision.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from jaxtyping import Float
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ConditionedSpec(EnforcingSpec):
    """Conditioning: each denoised estimate becomes the posterior mean given the constraint."""

    kind: Literal["conditioned"] = "conditioned"
    covariance: Literal["isotropic", "tweedie"] = key(default="isotropic")
    """Posterior covariance that decides where a correction goes."""
    shrinkage: float = key(ge=0, le=1, default=0.1)
    """Share of the isotropic covariance in the Tweedie one; zero for an exact denoiser, whatever the noise."""

    def requires(self) -> tuple[str, ...]:
        return ("condition", "project") if self.covariance == "isotropic" else ("matrix", "project")

    def differentiates(self) -> bool:
        return self.covariance == "tweedie"

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._denoising import CorrectedDenoiser

        if self.covariance == "isotropic":
            correction = partial(isotropic_mean, constraint=self.constraint, context=context)
        else:
            correction = partial(
                tweedie_mean, constraint=self.constraint, shrinkage=self.shrinkage, context=context
            )
        return self.denoising_base().build(CorrectedDenoiser(denoiser, correction), context)


# Ratio of noise to signal from which on the Tweedie covariance of a learned denoiser is not used.
LARGEST_RATIO = 1.0
# Size of a derivative over which its square would not be finite.
LARGEST = 1e100
# Share of the isotropic covariance under which rounding decides.
LEAST_SHARE = 1e-6


def isotropic_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    constraint: str,
    context: DenoisingContext,
    **conditions: Any,
) -> Tensor:
    """m' with an isotropic V, of the states x_t (B, ...) at the time t."""
    mean = context.decode(denoiser(x_t, t, **conditions).mean)
    alpha, sigma = denoiser.schedule(t)
    variance = (sigma**2 / (alpha**2 + sigma**2) * context.space.scale**2).expand(mean.shape[1:])
    context.costs.projection_solves += 1
    conditional_mean, _ = context.task.linear(constraint).condition(mean, variance)
    return context.space.encode(conditional_mean)


def tweedie_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    constraint: str,
    shrinkage: float,
    context: DenoisingContext,
    **conditions: Any,
) -> Tensor:
    """m' with the Tweedie covariance V, of the states x_t (B, ...) at the time t."""
    import torch

    alpha, sigma = denoiser.schedule(t)
    if shrinkage > 0 and bool((sigma >= LARGEST_RATIO * alpha).any()):
        return isotropic_mean(denoiser, x_t, t, constraint=constraint, context=context, **conditions)
    equality = context.task.linear(constraint)
    # A in standardised units, and its rows made orthonormal.
    matrix = equality.matrix.to(x_t.device) * context.space.scale.double().flatten()
    directions, factor = torch.linalg.qr(matrix.mT)
    rows = directions.mT
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        mean = denoiser(x_t, t, **conditions).mean
        cotangents = rows.to(mean).view(-1, 1, *mean.shape[1:]).expand(-1, *mean.shape).contiguous()
        (columns,) = torch.autograd.grad(mean, x_t, cotangents, is_grads_batched=True)
    context.costs.backward_passes += len(rows)
    context.costs.projection_solves += 1
    # V times the rows, in units of the isotropic variance.
    columns = (alpha**2 + sigma**2) / alpha * columns.flatten(2).movedim(0, 2).double()
    residual = equality.independent_residual(context.decode(mean.detach()).flatten(1))
    residual = torch.linalg.solve_triangular(factor.mT, residual.mT, upper=False).mT
    most = rows.shape[1] * float((alpha**2 + sigma**2) / sigma**2)
    correction = bounded_correction(columns, rows, residual, shrinkage, most)
    return mean.detach() - correction.view_as(mean).to(mean.dtype)


def bounded_correction(
    columns: Float[Tensor, "B n r"],
    rows: Float[Tensor, "r n"],
    residual: Float[Tensor, "B r"],
    shrinkage: float,
    most: float,
) -> Float[Tensor, "B n"]:
    """V R^T (R V R^T)^{-1} r, of a covariance V that is finite whatever the columns are.

    Args:
        columns: an estimate of V R^T, in units of the isotropic variance.
        rows: R, orthonormal.
        residual: r = R m - k.
        shrinkage: share of the isotropic covariance, and the least variance along a row.
        most: the largest variance.
    """
    import torch

    columns = (1 - shrinkage) * columns.nan_to_num(0.0, 0.0, 0.0).clamp(
        -LARGEST, LARGEST
    ) + shrinkage * rows.mT
    along = rows @ columns
    values, vectors = torch.linalg.eigh((along + along.mT) / 2)
    values = values.clamp(max(shrinkage, LEAST_SHARE), most)[:, None, :]
    across = (columns - rows.mT @ along) @ vectors
    # No covariance is larger than the root of the product of two variances.
    size = across.norm(dim=1, keepdim=True).clamp(min=torch.finfo(across.dtype).tiny)
    across = across * ((most * values).sqrt() / size).clamp(max=1)
    # What the rounding of large columns left along the rows is taken off once they are bounded.
    across = across - rows.mT @ (rows @ across)
    return residual @ rows + ((across / values) @ (vectors.mT @ residual[..., None])).squeeze(-1)
