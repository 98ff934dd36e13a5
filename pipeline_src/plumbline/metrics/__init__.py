"""Metrics: numbers that judge samples, against held-out data and constraints.

A metric returns an `xarray.Dataset`. Its variables without dimensions stand in the report's table; those along
`sample` say the same of each sample. Each carries `units`, and `better` (`lower`, `higher` or `neither`).

The reference is as many samples of the test split as there are samples to judge, the first ones, so that the
same number stands on both sides; real data judged the same way gives each metric's floor. Where a study draws several
times for each test sample, metrics that compare sets are given the first draw of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from plumbline._lazy import exports
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.metrics._pairs import Pairs


@dataclass(frozen=True)
class EvaluationContext:
    """What metrics measure with.

    Attributes:
        constraints: constraints by name, bound to the conditions of the samples.
        models: trained models by name, those that a metric of the study names.
    """

    constraints: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    _pairs: dict[tuple[int, int], tuple[xr.Dataset, xr.Dataset, Pairs]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def pairs(self, samples: xr.Dataset, dataset: xr.Dataset) -> Pairs:
        """The distances of the standardised samples and test samples: taken once, for all metrics that ask for them."""
        from plumbline.metrics._pairs import Pairs

        # The two datasets are kept with their distances, so that their identities are not given to others.
        key = (id(samples), id(dataset))
        if key not in self._pairs:
            found = Pairs.of(*standardised(samples, dataset, "test"))
            self._pairs[key] = (samples, dataset, found)
        return self._pairs[key][2]


class MetricSpec(Kind):
    """Base of the metric kinds."""

    of_every_draw: ClassVar[bool] = False
    """Whether it takes all draws for a test sample, since it judges them one by one; the others take the first of each."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """Judges samples.

        Args:
            samples: the samples, with the variable `state` as in the dataset.
            dataset: the dataset, with all its splits, in memory.
            by: what to measure with.
        """
        raise NotImplementedError

    resampled: ClassVar[bool] = True
    """Whether it is taken again with parts of the test samples left out, which gives its error over test samples."""

    def pairs(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> Pairs | None:
        """The distances that it is computed from, where it is computed from distances alone: they are taken once."""
        return None

    def without(
        self,
        left_out: np.ndarray,
        found: xr.Dataset,
        samples: xr.Dataset,
        dataset: xr.Dataset,
        by: EvaluationContext,
        pairs: Pairs | None,
    ) -> dict[str, float]:
        """Its numbers with some samples left out: what `evaluate` says of the rest, by name.

        Args:
            left_out: places of the samples that are left out.
            found: what `evaluate` said of all.
            samples: all samples.
            dataset: the dataset without the test samples that go with those left out.
            by: what to measure with, bound to all samples.
            pairs: what `pairs` gives of all samples.
        """
        kept = np.setdiff1d(np.arange(samples.sizes["sample"]), left_out)
        rest = samples.isel(sample=kept)
        bound = EvaluationContext({name: c.bind(rest) for name, c in by.constraints.items()}, by.models)
        return {
            str(name): float(value)
            for name, value in self.evaluate(rest, dataset, bound).data_vars.items()
            if not value.dims
        }

    def depends_on(self) -> dict[str, str]:
        """The study's models that it measures with, and what it needs of each."""
        return {}


class PairwiseSpec(MetricSpec):
    """Base of the kinds that are computed from the distances of samples and test samples alone."""

    def numbers(self, pairs: Pairs) -> dict[str, float]:
        """The numbers of the table, by name."""
        raise NotImplementedError

    def pairs(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> Pairs:
        return by.pairs(samples, dataset)

    def without(
        self,
        left_out: np.ndarray,
        found: xr.Dataset,
        samples: xr.Dataset,
        dataset: xr.Dataset,
        by: EvaluationContext,
        pairs: Pairs | None,
    ) -> dict[str, float]:
        assert pairs is not None
        return self.numbers(pairs.without(left_out))


AnyMetric = Annotated[MetricSpec, ByKind()]


def standardised(samples: xr.Dataset, dataset: xr.Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples and as many of a split, flattened and in standard deviations of the training data.

    Tables are scaled coordinate by coordinate, fields by one scale: their coordinates share a unit.

    Raises:
        ValueError: the split has fewer samples than there are to judge.
    """
    training = split_values(dataset, "train")
    others = split_values(dataset, split)
    drawn = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
    if split != "train":
        if len(others) < len(drawn):
            raise ValueError(f"{len(drawn)} samples to judge by {len(others)} of the {split} split.")
        others = others[: len(drawn)]
    scale = training.std(0) if samples["state"].ndim == 2 else training.std()
    scale = np.where(scale > 1e-12 * np.max(scale), scale, 1.0)
    return drawn / scale, others / scale


def split_values(dataset: xr.Dataset, split: str) -> np.ndarray:
    """The states of a split, flattened, float64 (samples, numbers)."""
    values = dataset["state"].values[dataset["split"].values == split]
    return values.reshape(len(values), -1).astype(np.float64)


def scalar(
    value: float, long_name: str, better: str, units: str = "1", *, floor: bool = True, remark: str = ""
) -> Any:
    """A number of the table.

    Args:
        value: the number.
        long_name: its title.
        better: `lower`, `higher` or `neither`.
        units: its unit.
        floor: whether no method can be expected to be better than real data: not so of what is asked for beyond the data.
        remark: what it is to be read with, a clause that the table ends with.
    """
    import xarray as xr

    attrs = {"long_name": long_name, "units": units, "better": better, "floor": floor}
    if remark:
        attrs["remark"] = remark
    return xr.DataArray(float(value), attrs=attrs)


NO_LIKELIHOOD = "no likelihood, since the data violates a constraint"
"""Why a likelihood on the feasible set is not told."""


def truth_is_feasible(samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> bool:
    """Whether the test samples that predictions are for satisfy all constraints: on the feasible set there is no density elsewhere."""
    import torch

    test = dataset["state"].values[dataset["split"].values == "test"][: samples.sizes["sample"]]
    return all(bool(c.satisfied(torch.as_tensor(test)).all()) for c in by.constraints.values())


def half_width(values: np.ndarray) -> float:
    """Half of the 95% interval of the mean, by Student's t; not a number for one value."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return float("nan")
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))


__getattr__ = exports(
    __name__,
    {
        "assimilation": ("AssimilationSpec",),
        "attribute_accuracy": ("AttributeAccuracySpec",),
        "autoencoding": ("AutoencodingSpec",),
        "class_quality": ("ClassQualitySpec",),
        "class_fractions": ("ClassFractionsSpec",),
        "conditional_gaussian": ("ConditionalGaussianSpec",),
        "constraint_distance": ("ConstraintDistanceSpec",),
        "energy_spectrum": ("EnergySpectrumSpec",),
        "equivalent_noise": ("EquivalentNoiseSpec",),
        "error_by_group": ("ErrorByGroupSpec",),
        "frechet": ("FrechetSpec",),
        "gradient_quality": ("GradientQualitySpec",),
        "identity": ("IdentitySpec",),
        "inception_frechet": ("InceptionFrechetSpec",),
        "kernel_alignment": ("KernelAlignmentSpec",),
        "label_accuracy": ("LabelAccuracySpec",),
        "level_violation": ("LevelViolationSpec",),
        "log_density": ("LogDensitySpec",),
        "marginal_wasserstein": ("MarginalWassersteinSpec",),
        "measured_labels": ("MeasuredLabelsSpec",),
        "memorisation": ("MemorisationSpec",),
        "mmd": ("MMDSpec",),
        "model_log_density": ("ModelLogDensitySpec",),
        "portfolio_performance": ("PortfolioPerformanceSpec",),
        "precision_recall": ("PrecisionRecallSpec",),
        "prediction": ("PredictionSpec",),
        "reward_levels": ("RewardLevelsSpec",),
        "sliced_wasserstein": ("SlicedWassersteinSpec",),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
