"""Spaces that models are trained in: standardised data and conditions, and images under a mirror map.

`batch_of` and `sample_shape` turn a dataset into tensors and their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.datasets._checks import shared_dimensions
from plumbline.linalg.checks import require
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.models import MirrorMap
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._moments import RunningMoments
from plumbline.networks import SampleShape
from plumbline.storage.split import is_numeric

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
        covariance: holds the covariance of standardised data, for samplers; None to have none.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], scaling: Scaling, *, covariance: DataCovariance | None = None
    ) -> None:
        super().__init__()
        self.data_covariance = covariance
        self.shape, self.scaling = shape, scaling
        self._equalities: dict[LinearEqualityConstraint, LinearEqualityConstraint] = {}
        self.register_load_state_dict_post_hook(lambda *_: self._equalities.clear())
        own = shape if scaling in ("per_feature", "max_abs") else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(own))
        self.register_buffer("scale", torch.ones(own))

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Sets mean and scale to those of the samples; see `fit_blocks`."""
        self.fit_blocks([x])

    def fit_blocks(self, blocks: Iterable[Tensor]) -> None:
        """Sets mean and scale to those of the samples of all blocks, in one pass.

        A constant coordinate is scaled by its absolute value, and one that is zero by the largest scale of
        the others.
        """
        if self.scaling == "none":
            return
        moments = RunningMoments()
        for x in blocks:
            moments.add(x.reshape(-1, 1) if self.scaling == "global" else x)
        size = moments.size
        if self.scaling == "max_abs":
            scale, mean = size, torch.zeros_like(size)
        else:
            std, mean = moments.std, moments.mean
            scale = torch.where(std > SMALLEST_FRACTION * size, std, size)
        scale = torch.where(scale > 0, scale, scale.max().clamp(min=1e-30))
        self.mean.copy_(mean.view_as(self.mean))
        self.scale.copy_(scale.view_as(self.scale))
        self._equalities.clear()

    @property
    def covariance(self) -> SpectralCovariance | None:
        """The covariance of standardised data, flattened and in double precision; None if there is none."""
        return None if self.data_covariance is None else self.data_covariance.get()

    def fit_covariance(self, blocks: Iterable[Tensor]) -> None:
        """Sets the covariance, if there is one, to that of the standardised samples of all blocks."""
        if self.data_covariance is not None:
            self.data_covariance.fit(self.encode(x.double()).flatten(1) for x in blocks)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Standardisation:
        self._equalities.clear()  # their tensors do not follow the module to its device
        super()._apply(fn, recurse)
        return self

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
    """The condition of a batch as a denoiser's keyword arguments; empty where there is none.

    A vector `condition` is standardised per entry, and a field per channel, over samples and grid. The class
    of a sample is appended to the vector by one entry per class: one for its class, zero for the others.
    Where the condition can be dropped, a last entry of the vector is one, and a dropped condition is zero
    everywhere.

    Args:
        dim: number of entries of the dataset's condition, if it is a vector.
        field: the shape of the dataset's condition, if it is a field.
        shared: number of the last dimensions of the field that are those of a sample.
        classes: number of classes, if the class of a sample is a condition.
        droppable: whether the condition can be dropped.
        gradient: whether the network also sees the gradient of a residual, which is dropped with the
            condition; the argument `gradient` (B,) is one for samples whose gradient it sees.
    """

    def __init__(
        self,
        dim: int = 0,
        *,
        field: tuple[int, ...] = (),
        shared: int = 0,
        classes: int = 0,
        droppable: bool = False,
        gradient: bool = False,
    ) -> None:
        super().__init__()
        self.space = Standardisation((dim,), "per_feature") if dim else None
        self.field_space = Standardisation(field[:-shared], "per_feature") if field else None
        self.field, self.shared, self.classes, self.droppable = field, shared, classes, droppable
        self.dim, self.gradient = dim + classes + droppable, gradient

    @classmethod
    def of_vector(cls, sample: SampleShape) -> StandardisedCondition:
        """The dataset's condition, for a model that takes vectors only.

        Raises:
            ValueError: the condition is a field.
        """
        if sample.field:
            raise ValueError(
                f"`condition` is a field of shape {sample.field}, and this kind of model takes vectors as "
                "conditions: use `diffusion` with a network `unet`, `dit` or `fno`."
            )
        return cls(sample.condition)

    def conditioned(self, sample: SampleShape) -> SampleShape:
        """Samples of this shape with this condition, from which a network is built."""
        shared = self.shared if self.field else 0
        return replace(sample, condition=self.dim, field=self.field, shared=shared)

    def fit_blocks(self, blocks: Iterable[Mapping[str, Tensor]]) -> None:
        """Fits the standardisation to the conditions of all blocks.

        Raises:
            ValueError: a label is not one of the classes.
        """
        if self.space is not None:
            self.space.fit_blocks(block["condition"] for block in blocks)
        if self.field_space is not None:
            fields = (self._channels_last(block["condition"]) for block in blocks)
            self.field_space.fit_blocks(field.flatten(0, self.shared) for field in fields)
        if self.classes:
            for block in blocks:
                self._labels(block)

    def arguments(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`condition` (B, dim), `field` (B, *F) and `gradient` (B,), if any, in the default precision."""
        dtype = torch.get_default_dtype()
        vector = []
        if self.space is not None:
            vector.append(self.space.encode(batch["condition"]).to(dtype))
        if self.classes:
            vector.append(nn.functional.one_hot(self._labels(batch), self.classes).to(dtype))
        if self.droppable:
            vector.append(torch.ones_like(batch["state"].flatten(1)[:, :1], dtype=dtype))
        arguments = {"condition": torch.cat(vector, dim=1)} if vector else {}
        if self.field_space is not None:
            encoded = self.field_space.encode(self._channels_last(batch["condition"]))
            grid = tuple(range(1, 1 + self.shared))
            arguments["field"] = encoded.movedim(grid, tuple(range(-self.shared, 0))).to(dtype)
        if self.gradient:
            arguments["gradient"] = torch.ones_like(batch["state"].flatten(1)[:, 0], dtype=dtype)
        return arguments

    def null(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The arguments for samples whose condition is dropped.

        Raises:
            ValueError: it cannot be dropped.
        """
        if not self.droppable:
            raise ValueError("the model was trained with its condition only: set `condition_dropout`.")
        return {name: torch.zeros_like(value) for name, value in self.arguments(batch).items()}

    def dropped(self, arguments: dict[str, Tensor], probability: float) -> dict[str, Tensor]:
        """The arguments with the conditions of random samples dropped, each with this probability."""
        example = next(iter(arguments.values()))
        kept = torch.rand(len(example), device=example.device) >= probability
        return {
            name: value * kept.view(-1, *(1,) * (value.ndim - 1)).to(value.dtype)
            for name, value in arguments.items()
        }

    def _channels_last(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Fields (B, *channels, *grid) as (B, *grid, *channels)."""
        return x.movedim(tuple(range(-self.shared, 0)), tuple(range(1, 1 + self.shared)))

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The classes (B,) of samples as integers.

        Raises:
            ValueError: a label is no whole number from zero to the number of classes less one.
        """
        label = batch["label"]
        whole = label.long()
        require(
            ((whole == label) & (whole >= 0) & (whole < self.classes)).all(),
            lambda: ValueError(
                f"`classes`: a label must be a whole number from 0 to {self.classes - 1}, found values from "
                f"{float(label.min()):g} to {float(label.max()):g}."
            ),
            f"labels are whole numbers from 0 to {self.classes - 1}",
        )
        return whole


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates.

    Raises:
        ValueError: `condition` is not numeric, or neither a vector per sample nor a field on the grid.
    """
    dims = example["state"].dims[1:]
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in dims)
    sample = SampleShape(tuple(example["state"].shape[1:]), periodic)
    if "condition" not in example:
        return sample
    condition = example["condition"]
    shared = shared_dimensions(example)
    vector = condition.ndim == 2 and not shared
    if not (vector or shared) or condition.dims[0] != "sample" or condition.dtype.kind not in "iuf":
        remedy = ": give it a second dimension, of size 1" if condition.ndim == 1 else ""
        raise ValueError(
            "`condition` must be numeric, with the dimensions (sample, component), or (sample, [channel], "
            "*grid) for a field on the grid of `state`; found "
            f"({', '.join(map(str, condition.dims))}) of the type {condition.dtype}{remedy}."
        )
    if vector:
        return replace(sample, condition=condition.shape[1])
    return replace(sample, field=tuple(condition.shape[1:]), shared=shared)


def chosen_condition(
    example: xr.Dataset,
    *,
    condition_on: tuple[str, ...] | None = None,
    classes: int | None = None,
    droppable: bool = False,
    gradient: bool = False,
) -> StandardisedCondition:
    """The condition that a model takes of a dataset.

    Args:
        example: a sample of the dataset.
        condition_on: some of the variables `condition` and `label`; None for `condition` where the dataset
            has one.
        classes: number of classes, for `label`.
        droppable: whether the condition can be dropped.
        gradient: whether the network also sees the gradient of a residual, dropped with the condition.

    Raises:
        ValueError: the dataset lacks one of the variables, or there is no condition to be dropped.
    """
    sample = sample_shape(example)
    chosen = condition_on if condition_on is not None else ("condition",) * ("condition" in example)
    for name in chosen:
        if name not in example:
            raise ValueError(f"`condition_on`: the dataset has no variable `{name}`.")
    if droppable and not (chosen or gradient):
        raise ValueError("`condition_dropout`: the model has no condition that could be dropped.")
    own = "condition" in chosen
    return StandardisedCondition(
        sample.condition if own else 0,
        field=sample.field if own else (),
        shared=sample.shared if own else 0,
        classes=(classes or 0) if "label" in chosen else 0,
        droppable=droppable,
        gradient=gradient,
    )


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take: the numeric variables along `sample`, by name."""
    return {
        str(name): torch.as_tensor(variable.values)
        for name, variable in samples.data_vars.items()
        if is_numeric(variable)
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

    def fit_blocks(self, blocks: Iterable[Tensor]) -> None:
        """Fits the standardisation to the images of the samples of all blocks."""
        self.standard.fit_blocks(self.image(few) for block in blocks for few in block.split(CHUNK))

    def fit_covariance(self, blocks: Iterable[Tensor]) -> None:
        """Nothing: samplers do not use the covariance of images."""

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
