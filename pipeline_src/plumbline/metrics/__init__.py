"""Metrics: they evaluate samples against held-out data and constraints.

A metric returns an `xarray.Dataset`. Variables without dimensions are columns of the report's table.
Variables along `sample` hold one value per sample. Attributes give a variable's `long_name` and `units`;
variables of the table also have `better` (`lower`, `higher` or `neither`).

N samples are compared with the first N samples of the test split, so that both sets have the same size. A
metric's floor is its value for real data: samples of the validation split, evaluated in the same way. Where a
method draws several samples for each test sample, metrics that compare sets receive only the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, SupportsFloat, TypeVar

import numpy as np

from plumbline._capabilities import require
from plumbline._lazy import exports
from plumbline.metrics._splits import training_scale, values_of
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import Tensor, nn
    from typing_extensions import TypeForm

    from plumbline.constraints import Constraint
    from plumbline.metrics._pairs import Pairs

T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationContext:
    """The constraints and trained models that metrics use, on one device.

    Attributes:
        constraints: constraints by name, bound to the conditions of the samples.
        models: the trained models that the study's metrics name, by name.
        device: the device that constraints and models compute on; they are moved there. Metrics of NumPy
            arrays stay on the CPU.
    """

    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    models: Mapping[str, nn.Module] = field(default_factory=dict)
    device: str | torch.device = "cpu"
    _on_cpu: Mapping[str, Constraint] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pairs: dict[tuple[int, int], tuple[xr.Dataset, xr.Dataset, Pairs]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        found = {
            "_on_cpu": self.constraints,
            "constraints": {name: one.to(self.device) for name, one in self.constraints.items()},
            "models": {name: model.to(self.device) for name, model in self.models.items()},
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def tensor(self, values: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
        """An array as a tensor on the device, in its own dtype unless another is given."""
        import torch

        return torch.as_tensor(values, dtype=dtype).to(self.device)

    def bound_to(self, samples: xr.Dataset) -> EvaluationContext:
        """The context with its constraints bound to the conditions of other samples."""
        constraints = {name: one.bind(samples) for name, one in self._on_cpu.items()}
        return EvaluationContext(constraints, self.models, self.device)

    def model(self, name: str, capability: TypeForm[T]) -> T:
        """The model of this name.

        Raises:
            TypeError: the model does not satisfy the Protocol `capability`.
        """
        return require(self.models[name], capability, name)

    def pairs(self, samples: xr.Dataset, dataset: xr.Dataset) -> Pairs:
        """The distances between standardised samples and test samples, computed once for all metrics."""
        from plumbline.metrics._pairs import Pairs

        # The datasets are stored with their distances: while they live, Python does not reuse their `id`.
        key = (id(samples), id(dataset))
        if key not in self._pairs:
            found = Pairs.of(*standardised(samples, dataset, "test"))
            self._pairs[key] = (samples, dataset, found)
        return self._pairs[key][2]


class MetricSpec(Kind):
    """Base of the metric kinds."""

    of_every_draw: ClassVar[bool] = False
    """Whether it receives all samples of each test case, because it evaluates them one by one; if not, it
    receives the first sample of each case."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """Evaluates samples.

        Args:
            samples: the samples, with the variable `state` as in the dataset.
            dataset: the dataset with all its splits. If the train split is large, variables along `sample`
                are lazy: select samples before asking for values.
            by: the constraints and models to evaluate with.

        Returns:
            The metric's variables; none where the metric does not apply to these samples.
        """
        raise NotImplementedError

    resampled: ClassVar[bool] = True
    """Whether the jackknife estimates its standard error, by leaving out parts of the test samples."""

    def pairs(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> Pairs | None:
        """The pairwise distances, for a metric that depends on nothing else; None for the others."""
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
        """The table's values with some samples left out, by name; by default from `evaluate`.

        Args:
            left_out: indices of the samples that are left out.
            found: the result of `evaluate` for all samples.
            samples: all samples.
            dataset: the dataset without the test samples that correspond to those left out.
            by: the constraints and models to evaluate with, bound to all samples.
            pairs: the result of `pairs` for all samples.
        """
        kept = np.setdiff1d(np.arange(samples.sizes["sample"]), left_out)
        rest = samples.isel(sample=kept)
        return {
            str(name): float(value)
            for name, value in self.evaluate(rest, dataset, by.bound_to(rest)).data_vars.items()
            if not value.dims
        }

    def depends_on(self) -> dict[str, type]:
        """The study's models that the metric uses, and the Protocol that each must satisfy."""
        return {}


class PairwiseSpec(MetricSpec):
    """Base of the metrics that depend only on the distances between samples and test samples."""

    def values(self, pairs: Pairs) -> dict[str, float]:
        """The table's values by name."""
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
        return self.values(pairs.without(left_out))


AnyMetric = Annotated[MetricSpec, ByKind()]


def standardised(samples: xr.Dataset, dataset: xr.Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples and reference samples, flattened and divided by the standard deviation of the training data.

    Tables are scaled per column. Fields are scaled by one number, since their entries share a unit, unless
    the coordinate `units` gives the fields of a sample different ones: then each has its own number.

    Args:
        samples: N samples.
        dataset: the dataset.
        split: the split of the reference samples.

    Returns:
        The samples (N, n), and the first N samples of the split (N, n), or the whole train split (M, n);
        float64.

    Raises:
        ValueError: the split has fewer than N samples.
    """
    others = split_values(dataset, split)
    drawn = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
    if split != "train":
        if len(others) < len(drawn):
            raise ValueError(
                f"the {split} split has {len(others)} samples, fewer than the {len(drawn)} to evaluate."
            )
        others = others[: len(drawn)]
    scale = training_scale(dataset)
    return drawn / scale, others / scale


def split_values(dataset: xr.Dataset, split: str) -> np.ndarray:
    """The flattened states (samples, n) of a split, in float64."""
    values = values_of(dataset, split)
    return values.reshape(len(values), -1).astype(np.float64)


def scalar(
    value: SupportsFloat,
    long_name: str,
    better: str,
    units: str = "1",
    *,
    floor: bool = True,
    remark: str = "",
) -> xr.DataArray:
    """A value of the table.

    Args:
        value: the value.
        long_name: the heading of its column.
        better: `lower`, `higher` or `neither`.
        units: its unit.
        floor: whether the value of real data bounds what a method can be expected to reach; false where a
            method is asked for more than the data has.
        remark: a remark for the notes below the table.
    """
    import xarray as xr

    attrs = {"long_name": long_name, "units": units, "better": better, "floor": floor}
    if remark:
        attrs["remark"] = remark
    return xr.DataArray(float(value), attrs=attrs)


NO_LIKELIHOOD = "no likelihood, since the data violates a constraint"
"""Remark of a table that leaves out the likelihood on the feasible set."""


def truth_is_feasible(samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> bool:
    """Whether the true states of the samples satisfy all constraints.

    A density on the feasible set is not defined for a true state outside it.
    """
    test = values_of(dataset, "test")[: samples.sizes["sample"]]
    return all(bool(c.satisfied(by.tensor(test)).all()) for c in by.constraints.values())


def half_width(values: np.ndarray) -> float:
    """Half the width of the 95% confidence interval of the mean, by Student's t; NaN for a single value."""
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
        "branch_fractions": ("BranchFractionsSpec",),
        "c2st": ("C2STSpec",),
        "class_quality": ("ClassQualitySpec",),
        "class_fractions": ("ClassFractionsSpec",),
        "conditional_error": ("ConditionalErrorSpec",),
        "conditional_gaussian": ("ConditionalGaussianSpec",),
        "constraint_distance": ("ConstraintDistanceSpec",),
        "energy_distance": ("EnergyDistanceSpec",),
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
        "model_conditional": ("ModelConditionalSpec",),
        "model_log_density": ("ModelLogDensitySpec",),
        "moment_errors": ("MomentErrorsSpec",),
        "portfolio_performance": ("PortfolioPerformanceSpec",),
        "precision_recall": ("PrecisionRecallSpec",),
        "prediction": ("PredictionSpec",),
        "reward_levels": ("RewardLevelsSpec",),
        "sliced_wasserstein": ("SlicedWassersteinSpec",),
        "variance_ratio": ("VarianceRatioSpec",),
    },
)
"""Public classes of the room's modules, imported when first used."""
