r"""A Gaussian fitted to standardised data, with the exact denoiser that follows from it.

Given a condition c, z ~ N(b + W c, Q diag(l) Q^T): b and W are the least-squares regression on c, and the
covariance of its residuals has eigenvectors Q and eigenvalues l. With x_t = alpha z + sigma e,

    E[z | x_t] = b + W c + Q diag(alpha l / (alpha^2 l + sigma^2)) Q^T (x_t - alpha (b + W c)).
"""

from __future__ import annotations

import math

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.linalg.spectral import SMALLEST_FRACTION, SpectralCovariance
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._spaces import Scaling, Standardisation, StandardisedCondition
from plumbline.networks import SampleShape


class GaussianRegressionDenoiser(Denoiser):
    """The exact denoiser of z ~ N(offset + weights c, Q diag(l) Q^T).

    Args:
        dim: number of coordinates of z.
        condition: number of entries of c.
        schedule: the noise schedule.
    """

    offset: Tensor
    weights: Tensor
    directions: Tensor
    variances: Tensor

    def __init__(self, dim: int, condition: int, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.register_buffer("offset", torch.zeros(dim))
        self.register_buffer("weights", torch.zeros(dim, condition))
        self.register_buffer("directions", torch.eye(dim))
        self.register_buffer("variances", torch.ones(dim))

    def fit(self, z: Float[Tensor, "N n"], condition: Float[Tensor, "N c"]) -> None:
        """Fits the regression on the condition, and the eigendecomposition of the residuals' covariance."""
        design = torch.cat([torch.ones(len(z), 1, dtype=z.dtype, device=z.device), condition], dim=1)
        # The pseudo-inverse also works for linearly dependent conditions, such as an inventory of fuel and
        # air.
        solution = torch.linalg.pinv(design, rtol=1e-6) @ z
        residuals = z - design @ solution
        variances, directions = torch.linalg.eigh(residuals.mT @ residuals / len(z))
        self.offset.copy_(solution[0])
        self.weights.copy_(solution[1:].mT)
        self.directions.copy_(directions)
        self.variances.copy_(variances.clamp(min=0))

    def covariance(self) -> SpectralCovariance:
        """The covariance of z given c, with positive eigenvalues."""
        values = self.variances.double()
        least = max(SMALLEST_FRACTION * float(values.mean()), torch.finfo(values.dtype).tiny)
        return SpectralCovariance(self.directions.double(), values.clamp(min=least))

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> DiracPosterior:
        """The posterior mean, in the shape of `x_t` (B, ...)."""
        alpha, sigma = (value.reshape(-1, 1) for value in self.schedule(t))
        flat = x_t.flatten(1)
        prior = self.offset if condition is None else self.offset + condition @ self.weights.mT
        gain = alpha * self.variances / (alpha**2 * self.variances + sigma**2)
        correction = ((flat - alpha * prior) @ self.directions * gain) @ self.directions.mT
        return DiracPosterior((prior + correction).view_as(x_t))


class FittedGaussian(nn.Module):
    """The Gaussian of the training data, fitted in closed form.

    Args:
        sample: the shape of samples.
        schedule: the noise schedule that samplers follow.
        scaling: how samples are standardised.
    """

    def __init__(self, sample: SampleShape, *, schedule: Schedule, scaling: Scaling = "global") -> None:
        super().__init__()
        n = math.prod(sample.shape)
        self.space = Standardisation(sample.shape, scaling, covariance=DataCovariance(n, n))
        self.condition = StandardisedCondition.of_vector(sample)
        self.denoiser = GaussianRegressionDenoiser(n, sample.condition, schedule)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisations and the Gaussian."""
        self.space.fit(data["state"])
        z = self.space.encode(data["state"].double()).flatten(1)
        self.condition.fit_blocks([data])
        condition = self.condition.arguments(data).get("condition", z.new_zeros(len(z), 0))
        self.denoiser.fit(z, condition.double())
        assert self.space.data_covariance is not None
        self.space.data_covariance.set(self.denoiser.covariance())

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.condition.arguments(batch)
