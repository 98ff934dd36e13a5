r"""A backbone that is conditioned on the gradient of a residual at its own noisy input.

Let l be the mean absolute residual of a sample, and y the input of the network, which is x_t scaled to the
variance of standardised data. The backbone receives

    g / rms(g),    g = grad_y l(y),

as a conditioning field, which is zero where the condition is dropped. In sampling, `classifier_free` makes it
count more.

Source: Shu, Li, Barati Farimani (2023), https://arxiv.org/abs/2211.14680. The code of Bastek, Sun, Kochmann
(ICLR 2025, https://arxiv.org/abs/2403.14404) has it as a baseline, drops the gradient in a tenth of the
training, and samples with the scale 3. There, g is not divided by its root mean square. It is the gradient of
a mean over the whole batch, so that its size depends on how many samples are drawn together.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._on_device import WithConstraints
from plumbline.models.diffusion._estimates import residual_in
from plumbline.networks import SampleShape
from plumbline.samplers._models import Space


def shown_gradient(sample: SampleShape) -> SampleShape:
    """Samples of this shape, conditioned on their field and the gradient as one field of more channels."""
    shared = sample.shared if sample.field else len(sample.shape)
    grid = sample.shape[len(sample.shape) - shared :]
    channels = sum(
        torch.Size(shape[: len(shape) - shared]).numel() for shape in (sample.shape, sample.field) if shape
    )
    return replace(sample, field=(channels, *grid), shared=shared)


class GradientBackbone(WithConstraints):
    """Calls a backbone with the gradient of the residual at its input, as the last channels of its field.

    Args:
        backbone: the backbone, for samples of the shape `shown_gradient`.
        space: the space of its input.
        constraint: the constraint, the same for all samples.
        shared: number of the last dimensions of a field that are those of a sample.
    """

    def __init__(self, backbone: nn.Module, space: Space, constraint: Constraint, shared: int) -> None:
        super().__init__()
        self.backbone, self.constraint, self.shared = backbone, constraint, shared
        self._space = (space,)  # its buffers are those of the model

    def forward(
        self,
        x: Float[Tensor, "B *S"],
        level: Float[Tensor, "*B"],
        *,
        gradient: Float[Tensor, " B"],
        field: Tensor | None = None,
        **conditions: Tensor,
    ) -> Tensor:
        """The output of the backbone.

        Args:
            x: the noisy samples.
            level: the noise level.
            gradient: one where a sample's gradient is shown, and zero where it is dropped.
            field: a further field that the samples are conditioned on.
            conditions: further keyword arguments of the backbone.
        """
        shown = self.gradient(x) * gradient.to(x).view(-1, *(1,) * (x.ndim - 1))
        grid = x.shape[x.ndim - self.shared :]
        fields = [shown] if field is None else [field, shown]
        joined = torch.cat([one.reshape(len(x), -1, *grid) for one in fields], dim=1)
        output: Tensor = self.backbone(x, level, field=joined, **conditions)
        return output

    def gradient(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The gradient of each sample's mean absolute residual, with a root mean square of one or zero."""
        residual = residual_in(self._space[0], self.constraint)
        with torch.enable_grad():
            points = x.detach().requires_grad_()
            distance = residual(points).abs().flatten(1).mean(1)
            (found,) = torch.autograd.grad(distance.sum(), points)
        size = found.flatten(1).square().mean(1).sqrt()
        smallest = torch.finfo(size.dtype).tiny
        return found / size.clamp(min=smallest).view(-1, *(1,) * (x.ndim - 1))
