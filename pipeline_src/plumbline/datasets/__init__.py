"""Datasets: samples drawn from a data distribution, as `xarray.Dataset`s with named coordinates and units.

Every dataset has the variable `state`, whose first dimension is `sample`, and the coordinate `split`. A
sample of a table has one further dimension. A sample of a field has two or more: the last two are the grid,
and any before them are channels. If their units differ, the coordinate `units` along the channels has them.
The coordinate of a periodic direction has the attribute `period`. If models can be conditioned on something,
it is the variable `condition`: a vector (sample, component), or a field (sample, [channel], *grid) that ends
with dimensions of `state`. Classes are whole numbers `label` (sample,).

Sample i depends on (seed, i) alone, so the data does not depend on the number of parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import model_validator

from plumbline._lazy import exports
from plumbline.spec import LARGEST_SEED, ByKind, Kind, Spec, key

if TYPE_CHECKING:
    import xarray as xr

SPLITS = ("train", "validation", "test")


class SplitSizes(Spec):
    """Number of samples in each split."""

    train: int = key("samples", ge=1)
    """Training samples."""
    validation: int = key("samples", ge=2)
    """Samples for floors and for monitoring training; models are never trained on them."""
    test: int = key("samples", ge=2)
    """Samples that methods are evaluated on."""

    @property
    def total(self) -> int:
        """Total number of samples."""
        return self.train + self.validation + self.test

    def names(self) -> np.ndarray:
        """The name of the split of each sample (total,), in order."""
        return np.repeat(SPLITS, [self.train, self.validation, self.test])


class DatasetSpec(Kind):
    """Base class of the dataset kinds."""

    block_bytes: ClassVar[int] = 2**25
    """Largest size of the blocks in which a part is drawn, unless a sample is larger."""

    seed: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Random seed of the samples."""
    parts: int = key(ge=1, default=2)
    """Number of parts; one job generates each."""
    splits: SplitSizes
    """Number of samples in each split."""

    @model_validator(mode="after")
    def _no_empty_part(self) -> DatasetSpec:
        if self.parts > self.splits.total:
            raise ValueError(
                f"{self.parts} parts for {self.splits.total} samples: use at most one part per sample"
            )
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        """Draws the samples with these consecutive indices.

        Args:
            indices: indices of the samples in the dataset, consecutive.
            splits: name of the split of each of these samples.

        Returns:
            A dataset with the variable `state`, and `condition` if there is one, along `sample`.
        """
        raise NotImplementedError

    def draw_exact(self, count: int, seed: int) -> np.ndarray:
        """Samples (count, *S) of the distribution of the test samples, where it can be sampled exactly.

        Args:
            count: number of samples.
            seed: random seed, another stream than that of the dataset.

        Raises:
            ValueError: the distribution is not known.
        """
        raise ValueError(f"the exact distribution of a dataset `{self.kind}` is not known")

    def draw_part(self, part: int) -> xr.Dataset:
        """Draws and checks the samples of one part, with the coordinates `sample` and `split`.

        Raises:
            DataFileError: the data cannot be read, or models cannot be trained on it.
        """
        return self._with_coordinates(self.indices_of(part))

    def draw_part_in_blocks(self, part: int) -> Iterator[xr.Dataset]:
        """Draws the samples of one part in blocks of at most `block_bytes`.

        Raises:
            DataFileError: the data cannot be read, or models cannot be trained on it.
        """
        indices = self.indices_of(part)
        size = self.sample_bytes() if len(indices) > 1 else 0
        blocks = max(1, min(len(indices), -(-len(indices) * size // self.block_bytes)))
        for chosen in np.array_split(indices, blocks):
            yield self._with_coordinates(chosen)

    def sample_bytes(self) -> int:
        """The size of a sample in bytes; by default that of the first one, which is drawn to find out."""
        drawn = self._raw(np.arange(1), self.splits.names()[:1])
        return sum(variable.nbytes for variable in drawn.data_vars.values() if "sample" in variable.dims)

    def indices_of(self, part: int) -> np.ndarray:
        """The indices of the samples of a part."""
        return np.array_split(np.arange(self.splits.total), self.parts)[part]

    def _with_coordinates(self, indices: np.ndarray) -> xr.Dataset:
        import xarray as xr

        splits = self.splits.names()[indices]
        drawn = self._drawn(indices, splits)
        return drawn.assign_coords(
            sample=xr.DataArray(indices, dims="sample", attrs={"long_name": "index of the sample"}),
            split=xr.DataArray(splits.astype("<U10"), dims="sample", attrs={"long_name": "split"}),
        )

    def draw_split(self, split: str) -> xr.Dataset:
        """Draws and checks all samples of one split, for a model or metric that has its own dataset.

        Raises:
            DataFileError: the data cannot be read, or models cannot be trained on it.
        """
        splits = self.splits.names()
        indices = np.flatnonzero(splits == split)
        return self._drawn(indices, splits[indices])

    def _drawn(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._checks import checked

        drawn = self._raw(indices, splits)
        return checked(drawn, self.source(), lambda places: self.source_rows(indices[places]))

    def _raw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        """The samples, not yet checked."""
        from plumbline.datasets._download import DataFileError

        try:
            return self.draw(indices, splits)
        except np.linalg.LinAlgError as error:
            raise DataFileError(
                f"{self.source()}: its settings give a matrix that cannot be factored ({error}): choose "
                "less extreme settings."
            ) from error

    def source_rows(self, indices: np.ndarray) -> np.ndarray:
        """The indices of these samples in the source, for error messages."""
        return indices

    def source(self) -> str:
        """Name of the source of the samples, for error messages."""
        return f"dataset `{self.kind}`"

    def draw_matching(self, split: str, shape: tuple[int, ...], where: str) -> xr.Dataset:
        """Draws all samples of one split and checks their shape.

        Args:
            split: name of the split.
            shape: expected shape of one sample.
            where: path of the key that names this dataset; the error message begins with it.

        Raises:
            ValueError: the samples have another shape.
        """
        drawn = self.draw_split(split)
        if drawn["state"].shape[1:] != tuple(shape):
            raise ValueError(
                f"`{where}`: `{self.kind}` has samples of shape {drawn['state'].shape[1:]}, but the samples "
                f"of the study have shape {tuple(shape)}."
            )
        return drawn

    def has_condition(self) -> bool:
        """Whether the dataset has the variable `condition`."""
        return False


AnyDataset = Annotated[DatasetSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "accretion": ("AccretionSpec",),
        "bent_mixture": ("BentMixtureSpec",),
        "budget_shares": ("BudgetSharesSpec",),
        "burgers": ("BurgersSpec",),
        "category_counts": ("CategoryCountsSpec",),
        "cifar10": ("CIFAR10Spec",),
        "combustion": ("CombustionSpec",),
        "darcy": ("DarcySpec",),
        "darcy_wells": ("DarcyWellsSpec",),
        "digits": ("DigitsSpec",),
        "dirichlet": ("DirichletSpec",),
        "ellipse_mixture": ("EllipseMixtureSpec",),
        "expectations": ("ExpectationsSpec",),
        "galaxies": ("GalaxiesSpec",),
        "gaussian": ("GaussianSpec",),
        "gaussian_mixture": ("GaussianMixtureSpec",),
        "heat_field": ("HeatFieldSpec",),
        "heat_waves": ("HeatWavesSpec",),
        "image_folder": ("ImageFolderSpec",),
        "kolmogorov": ("KolmogorovSpec",),
        "lsun": ("LSUNSpec",),
        "mixture": ("MixtureSpec",),
        "mnist": ("MNISTSpec",),
        "mof_charges": ("MOFChargesSpec",),
        "process_table": ("ProcessTableSpec",),
        "random_frameworks": ("RandomFrameworksSpec",),
        "reaction": ("ReactionSpec",),
        "reactor": ("ReactorSpec",),
        "series_file": ("SeriesFileSpec",),
        "sp500_returns": ("SP500ReturnsSpec",),
        "sp500_series": ("SP500SeriesSpec",),
        "sp500_windows": ("SP500WindowsSpec",),
        "sphere_mixture": ("SphereMixtureSpec",),
        "stokes": ("StokesSpec",),
        "stored": ("StoredSpec",),
        "tilings": ("TilingsSpec",),
        "truncated_gaussian": ("TruncatedGaussianSpec",),
        "vector_autoregressions": ("VectorAutoregressionsSpec",),
    },
)
"""Public classes of the modules here, imported on first use."""
