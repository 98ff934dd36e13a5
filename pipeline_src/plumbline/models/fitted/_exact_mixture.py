r"""The exact denoiser of a mixture of Gaussians, sum_k w_k N(m_k, C_k), at any noise level.

Given x_t = alpha x + sigma e, component k has the posterior probability

    p_k  proportional to  w_k N(x_t; alpha m_k, alpha^2 C_k + sigma^2 I)

and the posterior mean m_k + alpha C_k (alpha^2 C_k + sigma^2 I)^{-1} (x_t - alpha m_k). The denoiser is the
mean of these, weighted by p_k. The covariances have the form

    C_k = Q_k diag(l_k) Q_k^T + v_k I    with r orthonormal columns Q_k (n, r):

r = n for a full covariance, r = 0 for an isotropic one, and anything between for factors. All inverses and
determinants follow from l_k and v_k. A sample costs O(K n (1 + r)) operations, hence O(K n^2) with full
covariances and O(K n) with isotropic ones; the eigendecompositions are made once.

Probabilities are normalised in the logarithm, and everything is computed in double precision, so that a
vanishing noise level selects the component instead of dividing zero by zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.linalg.spectral import SpectralCovariance, covariance_of
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling, Standardisation
from plumbline.models.diffusion._schedules import EDMSchedule

if TYPE_CHECKING:
    import xarray as xr

SMALLEST_VARIANCE = 1e-30
"""Variances of x_t below this are taken for it, where a component has no extent and there is no noise."""
CHUNK = 2**24
"""Largest number of double-precision values of one intermediate result; larger batches are divided."""


class Mixture(TypedDict):
    """A mixture of Gaussians on flattened samples, in the data's unit.

    Attributes:
        weights: w (K,), up to a common factor.
        means: m (K, n).
        factors: F (K, r, n), or None; the covariances are F_k^T F_k + v_k I.
        variances: v (K,).
    """

    weights: Tensor
    means: Tensor
    factors: Tensor | None
    variances: Tensor


class MixtureDenoiser(Denoiser):
    """The exact denoiser of sum_k w_k N(m_k, Q_k diag(l_k) Q_k^T + v_k I).

    Args:
        components: K.
        dim: n, the number of coordinates.
        rank: r, the number of columns of each Q_k.
        schedule: the noise schedule.
    """

    log_weights: Tensor
    means: Tensor
    directions: Tensor
    means_along: Tensor
    spreads: Tensor
    variances: Tensor

    def __init__(self, components: int, dim: int, rank: int, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        shapes = {
            "log_weights": (components,),
            "means": (components, dim),
            "directions": (dim, components, rank),  # so that all are applied in one product of matrices
            "means_along": (components, rank),
            "spreads": (components, rank),
            "variances": (components,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def set(self, mixture: Mixture) -> None:
        """Sets the mixture, and decomposes its covariances."""
        self.log_weights.copy_(mixture["weights"].log().log_softmax(0))
        self.means.copy_(mixture["means"])
        self.variances.copy_(mixture["variances"])
        if mixture["factors"] is not None:
            # F^T F = V diag(s^2) V^T. The rows of V^T are orthonormal even where s is zero.
            _, values, rows = torch.linalg.svd(mixture["factors"], full_matrices=False)
            self.directions.copy_(rows.permute(2, 0, 1))
            self.means_along.copy_(torch.einsum("krn,kn->kr", rows, mixture["means"]))
            self.spreads.copy_(values.square())

    def forward(self, x_t: Tensor, t: Tensor) -> DiracPosterior:
        """The posterior mean, in the shape and dtype of `x_t` (B, ...)."""
        alpha, sigma = (v.double().reshape(-1, 1).expand(len(x_t), 1) for v in self.schedule(t))
        flat = x_t.flatten(1).double()
        rows = max(1, CHUNK // (self.spreads.numel() + self.means.shape[0] + self.means.shape[1]))
        given = (flat.split(rows), alpha.split(rows), sigma.split(rows))
        found = torch.cat([self.mean(*part) for part in zip(*given, strict=True)])
        return DiracPosterior(found.view_as(x_t).to(x_t.dtype))

    def mean(
        self, x: Float[Tensor, "B n"], alpha: Float[Tensor, "B 1"], sigma: Float[Tensor, "B 1"]
    ) -> Float[Tensor, "B n"]:
        """E[x_0 | x_t = x] for the signal levels alpha and noise levels sigma of the samples."""
        probabilities, along, of_along, of_rest = self._posterior(x, alpha, sigma)
        gain = alpha * self.variances / of_rest
        spread = self.spreads + self.variances[:, None]
        beyond = alpha[..., None] * spread / of_along - gain[..., None]
        weighted = (probabilities[..., None] * beyond * along).flatten(1)
        found = (probabilities * gain).sum(1, keepdim=True) * x
        found = found + (probabilities * (1 - alpha * gain)) @ self.means
        return found + weighted @ self.directions.flatten(1).mT

    def probabilities(
        self, x: Float[Tensor, "B n"], alpha: Float[Tensor, "B 1"], sigma: Float[Tensor, "B 1"]
    ) -> Float[Tensor, "B K"]:
        """The probability of each component given x_t = x."""
        return self._posterior(x, alpha, sigma)[0]

    def _posterior(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The probabilities (B, K); x_t - alpha m_k along the r directions (B, K, r); the variances of x_t
        along these (B, K, r) and along the other directions (B, K).
        """
        dim, _, rank = self.directions.shape
        signal, noise = alpha.square(), sigma.square()
        spread = self.spreads + self.variances[:, None]
        of_along = (signal[..., None] * spread + noise[..., None]).clamp(min=SMALLEST_VARIANCE)
        of_rest = (signal * self.variances + noise).clamp(min=SMALLEST_VARIANCE)
        along = (x @ self.directions.flatten(1)).unflatten(1, self.spreads.shape)
        along = along - alpha[..., None] * self.means_along
        squares = (along.square() / of_along).sum(-1)
        logs = of_along.log().sum(-1)
        if rank < dim:
            rest = self._squared_distances(x, alpha) - along.square().sum(-1)
            squares = squares + rest.clamp(min=0) / of_rest
            logs = logs + (dim - rank) * of_rest.log()
        probabilities = (self.log_weights - 0.5 * (squares + logs)).softmax(1)
        return probabilities, along, of_along, of_rest

    def _squared_distances(
        self, x: Float[Tensor, "B n"], alpha: Float[Tensor, "B 1"]
    ) -> Float[Tensor, "B K"]:
        """|x - alpha m_k|^2. Centred, since the components may share a large offset."""
        center = self.means.mean(0)
        moved, means = x - alpha * center, self.means - center
        cross = moved @ means.mT
        return (
            moved.square().sum(1, keepdim=True) - 2 * alpha * cross + alpha.square() * means.square().sum(1)
        )


def responsibilities(x: Float[Tensor, "B n"], mixture: Mixture) -> Float[Tensor, "B K"]:
    """The probability p(k | x) of each component for samples without noise, in double precision."""
    factors = mixture["factors"]
    rank = 0 if factors is None else min(factors.shape[1:])
    components, dim = mixture["means"].shape
    denoiser = MixtureDenoiser(components, dim, rank, EDMSchedule())
    denoiser.set(mixture)
    one, zero = (torch.full_like(x[:, :1], value) for value in (1.0, 0.0))
    return denoiser.probabilities(x, one, zero)


def covariance_of_mixture(mixture: Mixture, rank: int) -> SpectralCovariance:
    """The covariance of a mixture, sum_k w_k (C_k + (m_k - m) (m_k - m)^T) with its mean m.

    Args:
        mixture: the mixture.
        rank: number of eigenvectors; all of them if it is the number of coordinates.
    """
    weights = (mixture["weights"] / mixture["weights"].sum()).double()
    means = mixture["means"].double()
    factors = mixture["factors"]
    parts = [(means - weights @ means)[:, None]]
    if factors is not None:
        parts.append(factors.double())
    count = sum(part.shape[0] * part.shape[1] for part in parts)
    # Points with the mean zero, each with its opposite, whose covariance is that of the mixture but for v_k.
    rows = [(part * (count * weights).sqrt()[:, None, None]).flatten(0, 1) for part in parts]
    dim = means.shape[1]
    blocks = (sign * row for row in rows for sign in (1, -1))
    found = covariance_of(blocks, dimension=dim, rank=None if rank == dim else rank)
    variance = (weights * mixture["variances"]).sum()
    return found.mapped(lambda value: value + variance)


class ExactMixture(PreparedInBlocks, nn.Module):
    """The mixture of Gaussians that the data is drawn from, in standardised space.

    Args:
        shape: shape of a sample.
        weights: w (K,), up to a common factor.
        means: m (K, n), in the data's unit, as the next two.
        factors: F (K, r, n) of covariances F_k^T F_k + v_k I; None if they are isotropic.
        variances: v (K,).
        schedule: the noise schedule that samplers follow.
        scaling: how samples are standardised.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        weights: Tensor,
        means: Tensor,
        variances: Tensor,
        factors: Tensor | None = None,
        schedule: Schedule,
        scaling: Scaling = "global",
    ) -> None:
        super().__init__()
        n = math.prod(shape)
        self.space = Standardisation(shape, scaling, covariance=DataCovariance(n))
        self.mixture = Mixture(weights=weights, means=means, factors=factors, variances=variances)
        rank = 0 if factors is None else min(factors.shape[1:])
        self.denoiser = MixtureDenoiser(len(weights), n, rank, schedule)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation, and sets the mixture of the standardised samples and its covariance."""
        self.space.fit_blocks(block["state"] for block in blocks)
        scale = self.space.scale.double().reshape(()).cpu()
        shift = self.space.mean.double().reshape(()).cpu()
        given = self.mixture
        factors = given["factors"]
        standardised = Mixture(
            weights=given["weights"],
            means=(given["means"] - shift) / scale,
            factors=None if factors is None else factors / scale,
            variances=given["variances"] / scale**2,
        )
        self.denoiser.set(standardised)
        covariance = self.space.data_covariance
        assert covariance is not None
        covariance.set(covariance_of_mixture(standardised, rank=covariance.rank))

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """No keyword arguments: the mixture is that of all samples."""
        return {}


WEIGHTS, MEANS = "component_weights", "component_means"
COVARIANCES, FACTORS, VARIANCES = "component_covariances", "component_factors", "component_variances"


def stored_mixture(data: xr.Dataset) -> Mixture:
    """The mixture that a dataset stores, with samples of the shape S and n coordinates.

    The variables are `component_weights` (component,) and `component_means` (component, *S), with either
    `component_covariances` (component, n, n), or `component_factors` (component, factor, *S),
    `component_variances` (component,), or both of these: the covariances F^T F + v I.

    Raises:
        ValueError: a variable is missing, or has another shape.
    """
    for name in (WEIGHTS, MEANS):
        if name not in data:
            raise ValueError(
                f"`exact_mixture`: the dataset has no `{name}`: use it with a dataset that stores the "
                "mixture of Gaussians that it draws from, such as `gaussian` or `gaussian_mixture`."
            )

    def values(name: str, *shape: int) -> Tensor:
        found = torch.as_tensor(data[name].values, dtype=torch.float64)
        whole = math.prod(shape) if -1 not in shape else found.numel()
        if len(found) != components or found.numel() != whole:
            raise ValueError(
                f"`exact_mixture`: `{name}` has the shape {tuple(found.shape)}, which does not fit "
                f"{components} components of {dim} coordinates."
            )
        return found.reshape(shape)

    components, dim = data[WEIGHTS].size, data["state"][0].size
    weights, means = values(WEIGHTS, components), values(MEANS, components, dim)
    variances = torch.zeros(components, dtype=torch.float64)
    factors: Tensor | None = None
    if COVARIANCES in data:
        covariances = values(COVARIANCES, components, dim, dim)
        spreads, directions = torch.linalg.eigh(covariances)
        factors = spreads.clamp(min=0).sqrt()[..., None] * directions.mT
    elif FACTORS in data or VARIANCES in data:
        if FACTORS in data:
            factors = values(FACTORS, components, -1, dim)
        if VARIANCES in data:
            variances = values(VARIANCES, components)
    else:
        raise ValueError(
            f"`exact_mixture`: the dataset has `{MEANS}` but none of `{COVARIANCES}`, `{FACTORS}` and "
            f"`{VARIANCES}`."
        )
    return Mixture(weights=weights, means=means, factors=factors, variances=variances)
