"""Spaces that models are trained in: standardised data, standardised conditions, images under a mirror map; and datasets as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape

if TYPE_CHECKING:
    from plumbline.constraints._linear_equality import LinearEquality


Scaling = Literal["per_feature", "global", "max_abs", "none"]

# A coordinate that varies less than this share of its own size is a constant with rounding: it is not blown up to unit
# variance. Its size is its own, since coordinates may be in units that are many orders apart.
SMALLEST_SHARE = 1e-6


class Standardisation(nn.Module):
    """z = (x - mean) / scale, fitted to data once.

    Args:
        shape: shape of a sample.
        scaling: `coordinate` for a mean and a standard deviation a coordinate, `global` for one of each, `largest`
            for the largest absolute value of each coordinate, without a shift, `none` for the data's own units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], scaling: Scaling) -> None:
        super().__init__()
        self.shape, self.scaling = shape, scaling
        self._equalities: dict[LinearEquality, LinearEquality] = {}
        self.register_load_state_dict_post_hook(lambda *_: self._equalities.clear())
        own = shape if scaling in ("per_feature", "max_abs") else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(own))
        self.register_buffer("scale", torch.ones(own))

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Sets mean and scale to those of the samples.

        A coordinate that does not vary is scaled by its size, and one that is zero by the largest scale of the others.
        """
        if self.scaling == "none":
            return
        axes = tuple(range(x.ndim)) if self.scaling == "global" else (0,)
        size = x.double().abs().amax(axes)
        if self.scaling == "max_abs":
            scale, mean = size, torch.zeros_like(size)
        else:
            std, mean = torch.std_mean(x.double(), dim=axes)
            scale = torch.where(std > SMALLEST_SHARE * size, std, size)
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

    def equality(self, constraint: LinearEquality) -> LinearEquality:
        """The equality of standardised samples, A diag(scale) z = k - A mean: kept until the scaling changes."""
        if constraint not in self._equalities:
            shift, scale = (t.expand(self.shape) for t in (self.mean, self.scale))
            self._equalities[constraint] = constraint.rescaled(shift, scale)
        return self._equalities[constraint]


class StandardisedCondition(nn.Module):
    """The condition of a batch as a denoiser's keyword arguments; none where the dataset has none.

    Args:
        numbers: numbers in the condition, zero if there is none.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.space = Standardisation((dim,), "per_feature") if dim else None

    def fit(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation to the conditions of `data`."""
        if self.space is not None:
            self.space.fit(data["condition"])

    def arguments(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`condition`, standardised and in the default precision, or nothing."""
        if self.space is None:
            return {}
        return {"condition": self.space.encode(batch["condition"]).to(torch.get_default_dtype())}


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates.

    Raises:
        ValueError: `condition` is no table (sample, component) of numbers.
    """
    state = example["state"]
    grid = state.dims[1:][-2:] if state.ndim > 2 else ()
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in grid)
    return SampleShape(tuple(state.shape[1:]), periodic, _condition(example))


def _condition(example: xr.Dataset) -> int:
    """How many numbers a sample is conditioned on."""
    if "condition" not in example:
        return 0
    condition = example["condition"]
    if condition.ndim != 2 or condition.dims[0] != "sample" or condition.dtype.kind not in "iuf":
        remedy = ": give it a second dimension, of size 1" if condition.ndim == 1 else ""
        raise ValueError(
            f"`condition` should be (sample, component), of numbers, and is ({', '.join(map(str, condition.dims))}) of the type "
            f"{condition.dtype}{remedy}."
        )
    return condition.shape[1]


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take: the numeric variables along `sample`, by name."""
    return {
        str(name): torch.as_tensor(variable.values)
        for name, variable in samples.data_vars.items()
        if variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"
    }


# Samples that are mapped together where a whole dataset is.
CHUNK = 512


@runtime_checkable
class Mirror(Protocol):
    """A pair of maps of samples in the space `space`."""

    @property
    def space(self) -> Standardisation:
        """The space that the maps work in."""
        ...

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of bringing an image back."""
        ...

    def image(self, z: Tensor) -> Tensor:
        """g, in the dtype of what it is given."""
        ...

    def decoded(self, y: Tensor) -> Tensor:
        """f of generated images, in the dtype of what it is given."""
        ...


class MirrorSpace(nn.Module):
    """Images of samples (B, *S) under a trained mirror map, standardised."""

    def __init__(self, mirror: Mirror, scaling: Scaling = "global") -> None:
        super().__init__()
        self.mirror: Any = mirror
        self.standard = Standardisation(mirror.space.shape, scaling)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decode`."""
        return int(self.mirror.decoding_evaluations)

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
        """From standardised images to the data's units, through f at the noise level of generated samples."""
        return self.mirror.space.decode(self.mirror.decoded(self.standard.decode(z)))


class ImageSpace(nn.Module):
    """The same space, from which images come back as images, not through f."""

    def __init__(self, space: MirrorSpace) -> None:
        super().__init__()
        self.space = space

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images."""
        return self.space.encode(x)

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to images."""
        return self.space.standard.decode(z)
