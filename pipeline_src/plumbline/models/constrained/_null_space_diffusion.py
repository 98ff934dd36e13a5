r"""Diffusion of the free coordinates of A x = k.

With orthonormal rows R that span those of A, and N an orthonormal basis of what they leave, a feasible scaled sample
is z = R^T c + N y: c = c(k) is fixed by the equality, and y = N^T z, of n - r numbers, is free. The diffusion model
is one of y; decoding is exact, and what is drawn is feasible whatever the model does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from azula.denoise import KarrasDenoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._spaces import Scaling, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.networks import SampleShape


class NullSpace(nn.Module):
    """Coordinates y of scaled samples along the feasible directions, bound to the targets of a batch."""

    def __init__(self, scaled: Standardisation, basis: Tensor, equality: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scaled, self.basis, self.equality, self.shape = scaled, basis, equality, shape

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B d"]:
        """y = N^T z."""
        z = self.scaled.encode(x).flatten(1)
        return z @ self.basis.to(z)

    def decode(self, y: Float[Tensor, "B d"]) -> Float[Tensor, "B *S"]:
        """x from y: z = N y, brought to the equality along its rows."""
        z = y @ self.basis.to(y).mT
        return self.scaled.decode(self.equality.project(z).view(-1, *self.shape))


class NullSpaceDiffusion(nn.Module):
    """A diffusion model of the free coordinates of samples (B, *S).

    Args:
        sample: the shape of samples.
        network: makes the backbone, for a vector of the free coordinates.
        schedule: the noise schedule, which says what is trained at.
        scaling: how samples are standardised before the null space is taken.
        constraint: the equality.
    """

    basis: Tensor

    def __init__(
        self,
        sample: SampleShape,
        *,
        network: Callable[[SampleShape], nn.Module],
        schedule: TrainedSchedule,
        scaling: Scaling,
        constraint: Any,
    ) -> None:
        super().__init__()
        self.shape, self.constraint = sample.shape, constraint
        self.scaled = Standardisation(sample.shape, scaling)
        self.condition = StandardisedCondition(sample.condition)
        self.schedule = schedule
        numbers = math.prod(sample.shape)
        self.free = numbers - constraint.matrix.shape[0]
        self.register_buffer("basis", torch.zeros(numbers, self.free, dtype=torch.float64))
        vector = SampleShape((self.free,), (), sample.condition)
        self.denoiser = KarrasDenoiser(network(vector), schedule)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scaling, and takes the basis of what the scaled equality leaves free."""
        self.scaled.fit(data["state"])
        self.condition.fit(data)
        *_, right = torch.linalg.svd(self.scaled.equality(self.constraint).matrix)
        self.basis.copy_(right[-self.free :].mT)

    def space_of(self, batch: dict[str, Tensor]) -> NullSpace:
        """The free coordinates, bound to the targets of the batch."""
        equality = self.scaled.equality(self.constraint).bind(batch)
        return NullSpace(self.scaled, self.basis, equality, self.shape)

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.condition.arguments(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of a batch, and its terms for the log."""
        z = self.scaled.encode(batch["state"]).flatten(1)
        y = z @ self.basis.to(z)
        times = stratified_times(self.schedule, len(y), y)
        loss = self.denoiser.loss(y, times, **self.conditions(batch))
        return loss, {"denoising": loss.detach()}
