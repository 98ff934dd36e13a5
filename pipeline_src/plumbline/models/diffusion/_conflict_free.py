r"""Physics-based flow matching: residuals of unrolled estimates, with gradients that do not conflict.

Two losses are minimised together, that of the model and

    L_r = E [ w_t |r(x0)| ],      w_t = alpha_t / (alpha_t + sigma_t),

where |r| is a mean over residuals, and x0 an estimate of the clean sample by n deterministic steps of equal
length from t to 0 (`_estimates`); w_t is 1 - t on a rectified schedule. n grows from 1 to its largest value
in equal parts of the training. The two gradients g_1 and g_2 are not added but merged into one that decreases
both losses at the same relative rate (ConFIG). With unit vectors u_i = g_i / |g_i|,

    g = (|g_1| + |g_2|) (u_1 + u_2) / 2.

**Why this is ConFIG for two gradients.** ConFIG's direction d has equal positive products with all u_i, and
its length is sum_i g_i . d. In the plane of two gradients the only such direction is the bisector,
d = (u_1 + u_2) / |u_1 + u_2|. With the angle theta between the two, |u_1 + u_2| = 2 cos(theta / 2), so that
the length is (|g_1| + |g_2|) cos(theta / 2) = (|g_1| + |g_2|) |u_1 + u_2| / 2. If one gradient is zero, g is
the other one. If they are opposite, no direction decreases both losses, and g is zero.

**How it enters the training loop**, which minimises a scalar. Within `loss`, both gradients are computed and
merged, and the scalar is

    L + L_r - s + s',     s = sum_p p . g_p over parameters p,

with the gradients g_p and all but s' held constant: its value is L + L_r, and its gradient is g. The loop's
clipping, moving averages and mixed precision therefore act on g. In a training on several devices the two
gradients are averaged over the processes before they are merged, so that g is that of the whole batch. A loop
that adds the gradients of several batches before a step would add merged ones.

Sources: Baldan et al. (2025), https://arxiv.org/abs/2506.08604, whose published code merges per process;
ConFIG: Liu, Chu, Thuerey (2024), https://arxiv.org/abs/2408.11104. Published are flow matching and n = 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._on_device import Counter
from plumbline.models._processes import mean_over_processes
from plumbline.models.diffusion._estimates import NoisyBatch


class ConflictFree(nn.Module):
    """The loss of the model and that of the residual, by a scalar whose gradient is the merged one.

    Args:
        unroll: the largest number of steps n of an estimate.
        training_steps: optimiser steps of the training, over which n grows.

    Attributes:
        steps: optimiser steps so far ().
    """

    steps: Tensor

    def __init__(self, *, unroll: int = 4, training_steps: int) -> None:
        super().__init__()
        self.unroll, self.training_steps = unroll, training_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.counter = Counter()

    def loss(self, batch: NoisyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar, and its terms: the model's own loss and the mean absolute residual."""
        denoising, mean = batch.loss_and_mean()
        residual = batch.residual(batch.estimate(mean, self.times(batch.t))).flatten(1).abs().mean(1)
        alpha, sigma = batch.denoiser.schedule(batch.t)
        weighted = ((alpha / (alpha + sigma)).to(residual) * residual).mean()
        parameters = [p for p in batch.denoiser.parameters() if p.requires_grad]
        terms = {"denoising": denoising.detach(), "residual": residual.detach().mean()}
        if not (torch.is_grad_enabled() and parameters):
            return denoising + weighted, terms
        gradients = (gradient(denoising, parameters), gradient(weighted, parameters))
        merged = conflict_free(*map(of_all_processes, gradients))
        surrogate = sum((p * g).sum() for p, g in zip(parameters, merged, strict=True))
        return (denoising + weighted - surrogate).detach() + surrogate, terms

    def times(self, t: Float[Tensor, " B"]) -> list[Float[Tensor, " B"]]:
        """The times of the network evaluations of an estimate: t, t - t / n, ..., t / n."""
        length = self.length()
        return [t * (1 - k / length) for k in range(length)]

    @torch.compiler.disable
    def length(self) -> int:
        """n at this step of the training."""
        done = self.counter.read(self.steps)
        return min(self.unroll, 1 + done * self.unroll // max(1, self.training_steps))

    def after_step(self) -> None:
        """Counts a step of the optimiser."""
        self.counter.increment(self.steps)

    def go_to(self, step: int) -> None:
        """Moves to a step of the training."""
        self.counter.set(self.steps, step)


def gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of a loss (), zero for parameters that it does not depend on. The graph is kept."""
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True))


def conflict_free(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Merges two gradients, each given by tensors, into one that decreases both losses: ConFIG.

    Its cosines with the two are equal, and its length is the sum of its products with them, divided by that
    length. See the head of this module.

    Source: Liu, Chu, Thuerey (2024), https://arxiv.org/abs/2408.11104.
    """
    norms = torch.stack([norm(first), norm(second)])
    both = norms.prod() > 0
    # Where one is zero, the sum is the other one: the factors are one.
    factors = torch.where(both, norms.sum() / (2 * torch.where(both, norms, 1)), 1)
    return [factors[0] * a + factors[1] * b for a, b in zip(first, second, strict=True)]


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm () of all entries together, in double precision."""
    return torch.stack(torch._foreach_norm([t.double() for t in tensors])).norm()


def of_all_processes(gradient: list[Tensor]) -> list[Tensor]:
    """The gradient of the whole batch: the mean over the processes of a training."""
    if not torch.distributed.is_initialized():
        return gradient
    flat = mean_over_processes(torch.cat([part.flatten() for part in gradient]))
    parts = flat.split([part.numel() for part in gradient])
    return [part.view_as(like) for part, like in zip(parts, gradient, strict=True)]
