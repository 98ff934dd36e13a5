"""Spaces that models are trained in: standardised data and conditions, and images under a mirror map.

`batch_of` and `sample_shape` turn a dataset into tensors and their shape.
"""

from __future__ import annotations

from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models import MirrorMap
from plumbline.networks import SampleShape

Scaling = Literal["per_feature", "global", "max_abs", "none"]

# A coordinate whose standard deviation is below this fraction of its own size is a constant with rounding
# errors: it is not scaled to unit variance. Each coordinate has its own size, since their units may differ by
# orders of magnitude.
SMALLEST_FRACTION = 1e-6


class Standardisation(nn.Module):
    """z = (x - mean) / scale, fitted to data once.

    Args:
        shape: shape of a sample.
        scaling: `per_feature` for a mean and a standard deviation per coordinate, `global` for one of each,
            `max_abs` for the maximum absolute value per coordinate, without a shift, `none` for the data's
            own units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], scaling: Scaling) -> None:
        super().__init__()
        self.shape, self.scaling = shape, scaling
        self._equalities: dict[LinearEqualityConstraint, LinearEqualityConstraint] = {}
        self.register_load_state_dict_post_hook(lambda *_: self._equalities.clear())
        own = shape if scaling in ("per_feature", "max_abs") else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(own))
        self.register_buffer("scale", torch.ones(own))

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Sets mean and scale to those of the samples.

        A constant coordinate is scaled by its absolute value, and one that is zero by the largest scale of
        the others.
        """
        if self.scaling == "none":
            return
        axes = tuple(range(x.ndim)) if self.scaling == "global" else (0,)
        size = x.double().abs().amax(axes)
        if self.scaling == "max_abs":
            scale, mean = size, torch.zeros_like(size)
        else:
            std, mean = torch.std_mean(x.double(), dim=axes)
            scale = torch.where(std > SMALLEST_FRACTION * size, std, size)
        scale = torch.where(scale > 0, scale, scale.max().clamp(min=1e-30))
        self.mean.copy_(mean.view_as(self.mean))
        self.scale.copy_(scale.view_as(self.scale))
        self._equalities.clear()

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised ones."""
        return (x - self.mean.to(x.dtype)) / self.scale.to(x.dtype)

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised units to the data's."""
        return self.mean.to(z.dtype) + self.scale.to(z.dtype) * z

    def equality(self, constraint: LinearEqualityConstraint) -> LinearEqualityConstraint:
        """The equality of standardised samples, A diag(scale) z = k - A mean; cached until a new fit."""
        if constraint not in self._equalities:
            shift, scale = (t.expand(self.shape) for t in (self.mean, self.scale))
            self._equalities[constraint] = constraint.rescaled(shift, scale)
        return self._equalities[constraint]


class StandardisedCondition(nn.Module):
    """The condition of a batch as a denoiser's keyword arguments; empty where the dataset has no condition.

    Args:
        dim: number of entries in the condition, zero if there is none.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.space = Standardisation((dim,), "per_feature") if dim else None

    def fit(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation to the conditions of `data`."""
        if self.space is not None:
            self.space.fit(data["condition"])

    def arguments(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`condition`, standardised and in the default precision; empty if there is none."""
        if self.space is None:
            return {}
        return {"condition": self.space.encode(batch["condition"]).to(torch.get_default_dtype())}


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates.

    Raises:
        ValueError: `condition` is not numeric with the dimensions (sample, component).
    """
    state = example["state"]
    grid = state.dims[1:][-2:] if state.ndim > 2 else ()
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in grid)
    return SampleShape(tuple(state.shape[1:]), periodic, _condition(example))


def _condition(example: xr.Dataset) -> int:
    """The number of values that a sample is conditioned on."""
    if "condition" not in example:
        return 0
    condition = example["condition"]
    if condition.ndim != 2 or condition.dims[0] != "sample" or condition.dtype.kind not in "iuf":
        remedy = ": give it a second dimension, of size 1" if condition.ndim == 1 else ""
        raise ValueError(
            "`condition` must be numeric, with the dimensions (sample, component); found "
            f"({', '.join(map(str, condition.dims))}) of the type {condition.dtype}{remedy}."
        )
    return condition.shape[1]


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take: the numeric variables along `sample`, by name."""
    return {
        str(name): torch.as_tensor(variable.values)
        for name, variable in samples.data_vars.items()
        if variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"
    }


# Number of samples that are mapped together when a whole dataset is mapped.
CHUNK = 512


class MirrorSpace(nn.Module):
    """Standardised images of samples (B, *S) under a trained mirror map.

    Args:
        mirror: the trained mirror map.
        scaling: how images are standardised.
    """

    def __init__(self, mirror: MirrorMap, scaling: Scaling = "global") -> None:
        super().__init__()
        self.mirror = mirror
        self.standard = Standardisation(mirror.space.shape, scaling)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decode`."""
        return self.mirror.decoding_evaluations

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Fits the standardisation to the images of the samples."""
        self.standard.fit(torch.cat([self.image(part) for part in x.split(CHUNK)]))

    @torch.no_grad()
    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """g(x), not standardised."""
        return self.mirror.image(self.mirror.space.encode(x))

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images, without gradients."""
        return self.standard.encode(self.image(x))

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to the data's units, by f at the noise levels of generated samples."""
        return self.mirror.space.decode(self.mirror.decoded(self.standard.decode(z)))


class ImageSpace(nn.Module):
    """A mirror space whose `decode` returns images under g instead of mapping them back through f.

    Args:
        space: the mirror space.
    """

    def __init__(self, space: MirrorSpace) -> None:
        super().__init__()
        self.space = space

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images."""
        return self.space.encode(x)

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to images."""
        return self.space.standard.decode(z)
