r"""Diffusion in the null space of A x = k.

Let the orthonormal rows of R span the row space of A, and let the columns of N be an orthonormal basis of its
null space. A feasible scaled sample is z = R^T c + N y: the equality fixes c = c(k), and the n - r entries of
y = N^T z are free. The diffusion model is one of y. Decoding is exact, so that samples are feasible whatever
the model returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from azula.denoise import KarrasDenoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.networks import SampleShape


class NullSpace(nn.Module):
    """Null-space coordinates y of scaled samples, bound to the targets of a batch.

    Args:
        scaled: the scaling of samples.
        basis: N, (n, n - r).
        equality: the equality in the scaled space, bound to the batch.
        shape: the shape of a sample.
    """

    def __init__(
        self,
        scaled: Standardisation,
        basis: Tensor,
        equality: LinearEqualityConstraint,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.scaled, self.basis, self.equality, self.shape = scaled, basis, equality, shape

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B d"]:
        """y = N^T z."""
        z = self.scaled.encode(x).flatten(1)
        return z @ self.basis.to(z)

    def decode(self, y: Float[Tensor, "B d"]) -> Float[Tensor, "B *S"]:
        """x from y: z = N y, projected onto the equality, and back to the data's units."""
        z = y @ self.basis.to(y).mT
        return self.scaled.decode(self.equality.project(z).view(-1, *self.shape))


class NullSpaceDiffusion(PreparedInBlocks, WithConstraints):
    """A diffusion model of the null-space coordinates of samples (B, *S).

    Args:
        sample: the shape of samples.
        network: builds the backbone, for a vector of null-space coordinates.
        schedule: the noise schedule, with the distribution of times in training.
        scaling: how samples are standardised before the null space is computed.
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
        constraint: LinearEqualityConstraint,
    ) -> None:
        super().__init__()
        self.shape, self.constraint = sample.shape, constraint
        self.scaled = Standardisation(sample.shape, scaling)
        self.condition = StandardisedCondition.of_vector(sample)
        self.schedule = schedule
        dim = math.prod(sample.shape)
        self.free = dim - constraint.matrix.shape[0]
        self.register_buffer("basis", torch.zeros(dim, self.free, dtype=torch.float64))
        vector = SampleShape((self.free,), (), sample.condition)
        self.denoiser = KarrasDenoiser(network(vector), schedule)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling, and computes the null-space basis of the scaled equality."""
        self.scaled.fit_blocks(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)
        *_, right = torch.linalg.svd(self.scaled.equality(self.constraint).matrix)
        self.basis.copy_(right[-self.free :].mT)

    def space_of(self, batch: dict[str, Tensor]) -> NullSpace:
        """The null-space coordinates, bound to the targets of the batch."""
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
