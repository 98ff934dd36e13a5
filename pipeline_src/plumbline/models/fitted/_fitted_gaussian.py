r"""A Gaussian fitted to standardised data, with the exact denoiser that follows from it.

Given a condition c, z ~ N(b + W c, Q diag(l) Q^T): b and W are the least-squares regression on c, and the
covariance of its residuals has eigenvectors Q and eigenvalues l. With x_t = alpha z + sigma e,

    E[z | x_t] = b + W c + Q diag(alpha l / (alpha^2 l + sigma^2)) Q^T (x_t - alpha (b + W c)).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from torch import Tensor, nn

from plumbline.linalg.spectral import SMALLEST_FRACTION, SpectralCovariance
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._running_regression import RunningRegression
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

    def fit(self, regression: RunningRegression) -> None:
        """Takes over the regression of z on c, and the eigendecomposition of its residuals' covariance."""
        # Conditions may be linearly dependent, such as an inventory of fuel and air.
        solution, squares = regression.solution()
        variances, directions = torch.linalg.eigh(squares / regression.count)
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


class FittedGaussian(PreparedInBlocks, nn.Module):
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

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisations and the Gaussian."""
        self.space.fit_blocks(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)
        regression = RunningRegression()
        for block in blocks:
            z = self.space.encode(block["state"].double()).flatten(1)
            condition = self.condition.arguments(block).get("condition", z.new_zeros(len(z), 0))
            regression.add(condition, z)
        self.denoiser.fit(regression)
        assert self.space.data_covariance is not None
        self.space.data_covariance.set(self.denoiser.covariance())

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.condition.arguments(batch)
