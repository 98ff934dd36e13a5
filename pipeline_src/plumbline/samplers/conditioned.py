r"""Conditioning: the denoiser's Gaussian posterior is conditioned on the constraint at every evaluation.

The posterior x | x_t is approximated by N(m, V), where m is the denoiser. For a linear equality A x = k, its
mean given the constraint is

    m' = m + V A^T (A V A^T)^{-1} (k - A m),

and the sampler continues with m'. Smooth equations and inequalities have corresponding approximations
(`plumbline.constraints._conditioner`). If the posterior were exactly Gaussian, m' would give the score of the
constrained distribution. There are three choices of V:

- `data`: V = (C^{-1} + alpha_t^2 / sigma_t^2 I)^{-1}, with the covariance C of the training data in the
  model's space. It is exact for Gaussian data. It needs no backward pass, and C is decomposed once, when the
  model is prepared (`plumbline.linalg.spectral`).
- `isotropic`: V = sigma_t^2 / (alpha_t^2 + sigma_t^2) I, the same with C = I: coordinates are treated as
  independent.
- `tweedie`: V = (sigma_t^2 / alpha_t) dm/dx_t, the exact posterior covariance, which takes one backward pass
  per row of A and is therefore meant for few rows. The derivative of a learned m is neither symmetric nor
  positive definite, and the noise multiplies its error. It is therefore used only where
  sigma_t / alpha_t < 1 in standardised units, where models are trained most; `data` is used above. With
  `shrinkage` s, the isotropic covariance has weight s and the Tweedie covariance weight 1 - s. A shrinkage of
  zero states that the denoiser is exact: the Tweedie covariance is then used at every noise level.

`data` is right where the data has one mode. Where the constraint changes the weights of several modes, no
covariance is; `twisted_smc` weighs them.

Conditioning uses only the columns V A^T of the Tweedie covariance. They are bounded so that they belong to a
valid covariance for any derivative: along the rows of A, variances are at least s (or `LEAST_SHARE`) times
the isotropic variance and at most the total variance n of standardised data, and no covariance exceeds the
square root of the product of the two variances.

At the first time of a schedule such as EDM's, the state alpha x + sigma e is not noise alone, and its mean
given the constraint is alpha mu, with the mean mu of x. A sampler that started at the noise z would therefore
miss mu by about mu (c / (c + sigma^2 / alpha^2))^{1/2} along a direction in which x has the variance c given
the constraint. It starts at z + alpha m'(z) instead, which takes one more evaluation.

Finally the samples are projected in double precision, which removes rounding errors of single precision.

Sources: moment matching posterior sampling, Rozet et al. (NeurIPS 2024), https://arxiv.org/abs/2405.13712;
Tweedie moment projected diffusion, Boys et al. (2023), https://arxiv.org/abs/2310.06721; the covariance of
the data as prior, Peng et al. (2024), https://arxiv.org/abs/2402.02149. All are used here without observation
noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import GaussianConditioning, MatrixConstraint, ProjectableConstraint
from plumbline.samplers import DenoisingWrapperSpec, EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from jaxtyping import Float
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext
    from plumbline.samplers._posterior import ConditionedPosterior


class ConditionedSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Conditioning: each denoised estimate is replaced by its posterior mean given the constraint.

    The covariance `tweedie` is that of moment matching (Boys et al. 2023, https://arxiv.org/abs/2310.06721).
    """

    kind: Literal["conditioned"] = "conditioned"
    covariance: Literal["data", "isotropic", "tweedie"] = key(default="data")
    """Approximation of the posterior covariance, which determines the direction of the correction."""
    shrinkage: float = key(ge=0, le=1, default=0.1)
    """Weight of the isotropic covariance in `tweedie`; zero for an exact denoiser, at every noise level."""

    def requires(self) -> tuple[type, ...]:
        if self.covariance == "tweedie":
            return (MatrixConstraint,)
        return (ProjectableConstraint, GaussianConditioning)

    def differentiates(self) -> bool:
        return self.covariance == "tweedie"

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._denoising import CorrectedDenoiser
        from plumbline.samplers._posterior import ConditionedPosterior

        correction: Callable[..., Tensor]
        if self.covariance == "tweedie":
            exact = self.shrinkage == 0
            correction = partial(
                tweedie_mean,
                constraint=self.constraint,
                shrinkage=self.shrinkage,
                above=None if exact else ConditionedPosterior.of(self.constraint, context, "data"),
                context=context,
            )
        else:
            correction = ConditionedPosterior.of(self.constraint, context, self.covariance).mean
        return self.denoising_base().build(CorrectedDenoiser(denoiser, correction), context)

    def first(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        """Adds the mean of the signal given the constraint to the noise, where it is not negligible."""
        import torch

        z = super().first(sampler, z, conditions)
        start = torch.full((), sampler.start, device=z.device)
        alpha, sigma = sampler.denoiser.schedule(start)
        if bool(sigma < NEGLIGIBLE_SIGNAL * alpha):
            return z + alpha * sampler.denoiser(z, start, **conditions).mean
        return z


# The Tweedie covariance of a learned denoiser is used only below this noise-to-signal ratio.
LARGEST_RATIO = 1.0
# Noise-to-signal ratio from which on the first point of a sampler is taken for noise alone.
NEGLIGIBLE_SIGNAL = 500.0
# Bound on derivatives, so that their squares are finite.
LARGEST = 1e100
# Smallest variance as a fraction of the isotropic one; below it, rounding errors dominate.
LEAST_SHARE = 1e-6


def tweedie_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    constraint: str,
    shrinkage: float,
    above: ConditionedPosterior | None,
    context: DenoisingContext,
    **conditions: object,
) -> Tensor:
    """Computes m' with the Tweedie covariance V for the states x_t (B, ...) at time t.

    Args:
        denoiser: the denoiser.
        x_t: the states (B, ...).
        t: their time.
        constraint: name of the constraint.
        shrinkage: weight of the isotropic covariance.
        above: conditions the denoiser where the noise-to-signal ratio is at least `LARGEST_RATIO`; None to
            use the Tweedie covariance there as well.
        context: the task, the space of the model, and the costs.
        conditions: keyword arguments of the denoiser.
    """
    import torch

    alpha, sigma = denoiser.schedule(t)
    if above is not None and bool((sigma >= LARGEST_RATIO * alpha).any()):
        return above.mean(denoiser, x_t, t, **conditions)
    equality = context.task.linear(constraint)
    # A in standardised units, with its rows made orthonormal.
    matrix = equality.matrix.to(x_t.device) * context.scale.double().flatten()
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
    """Computes V R^T (R V R^T)^{-1} r, with V bounded so that the result is finite for any columns.

    Args:
        columns: an estimate of V R^T, in units of the isotropic variance.
        rows: R, with orthonormal rows.
        residual: r = R m - k.
        shrinkage: weight of the isotropic covariance, and the smallest variance along a row.
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
    # No covariance exceeds the square root of the product of the two variances.
    size = across.norm(dim=1, keepdim=True).clamp(min=torch.finfo(across.dtype).tiny)
    across = across * ((most * values).sqrt() / size).clamp(max=1)
    # Rounding of large columns leaves a component along the rows. Remove it now that they are bounded.
    across = across - rows.mT @ (rows @ across)
    return residual @ rows + ((across / values) @ (vectors.mT @ residual[..., None])).squeeze(-1)
