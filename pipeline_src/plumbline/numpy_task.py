"""A study's data, constraints, exact samples and metrics in NumPy, for samplers of other frameworks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbline.storage.store import select_split
from plumbline.study import Study, load_study
from plumbline.study_file import Scale
from plumbline.workflow_files import path_of_study

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints import Constraint


class Task:
    """The sampling task of a study: its data, its constraints, and the evaluation of samples.

    For example::

        task = plumbline.task("gaussian")
        model = my_framework.fit(task.train)
        task.score(model.sample(len(task.test)))

    Args:
        study: the study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The data of all splits, with coordinates, units and the variables that constraints use."""
        return self.study.dataset.model_copy(update={"parts": 1}).draw_part(0)

    @property
    def train(self) -> np.ndarray:
        """The training samples (N, *S), in the data's unit."""
        return self._split("train")["state"].values

    @property
    def validation(self) -> np.ndarray:
        """The validation samples (N, *S), in the data's unit."""
        return self._split("validation")["state"].values

    @property
    def test(self) -> np.ndarray:
        """The test samples (N, *S), in the data's unit."""
        return self._split("test")["state"].values

    def conditions(self, split: str = "test") -> np.ndarray | None:
        """The conditions (N, C) of the samples of a split; None if the dataset has none."""
        samples = self._split(split)
        return samples["condition"].values if "condition" in samples else None

    def residuals(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """The residuals (N, ...) of each constraint, by name; zero on the feasible set.

        Args:
            samples: (N, *S), in the data's unit. Sample i has the targets of test sample i.

        Raises:
            ValueError: the samples have the wrong shape or number, or are not finite.
        """
        import torch

        x = torch.as_tensor(np.asarray(samples), dtype=torch.float64)
        bound = self._bound(self._as_dataset(samples))
        return {name: constraint.residual(x).numpy() for name, constraint in bound.items()}

    def project(self, samples: np.ndarray, constraint: str) -> np.ndarray:
        """Projects samples onto a constraint.

        Args:
            samples: (N, *S), in the data's unit. Sample i has the targets of test sample i.
            constraint: name of a constraint of the study.

        Returns:
            The nearest feasible points (N, *S), in double precision.

        Raises:
            ValueError: there is no such constraint, it has no projection, or the samples are invalid.
        """
        import torch

        from plumbline.constraints import ProjectableConstraint

        bound = self._bound(self._as_dataset(samples))
        if constraint not in bound:
            raise ValueError(
                f"there is no constraint {constraint!r}; available: {', '.join(bound) or 'none'}"
            )
        projectable = bound[constraint]
        if not isinstance(projectable, ProjectableConstraint):
            raise ValueError(f"{constraint!r} has no projection")
        return projectable.project(torch.as_tensor(np.asarray(samples), dtype=torch.float64)).numpy()

    def exact(self, count: int, seed: int = 0) -> np.ndarray:
        """Draws samples (count, *S) from the exact conditional distribution, if it is known.

        Args:
            count: number of samples.
            seed: random seed.

        Raises:
            ValueError: the exact distribution of this dataset is not known.
        """
        return self.study.dataset.draw_exact(count, seed)

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """Evaluates the study's metrics on samples and returns them by name, as in the report.

        Metrics that use a trained model are omitted. `plumbline.run` and the workflow evaluate them.

        Args:
            samples: (N, *S), in the data's unit. Sample i is evaluated with the targets of test sample i.

        Raises:
            ValueError: the samples have the wrong shape or number, or are not finite.
        """
        from plumbline.metrics import EvaluationContext

        drawn = self._as_dataset(samples)
        by = EvaluationContext(self._bound(drawn), {})
        scores: dict[str, float] = {}
        for metric in self.study.metrics.values():
            if not metric.depends_on():
                found = metric.evaluate(drawn, self.dataset, by)
                scores |= {str(name): float(value) for name, value in found.items() if value.ndim == 0}
        return scores

    def _split(self, split: str) -> xr.Dataset:
        return select_split(self.dataset, split)

    def _as_dataset(self, samples: np.ndarray) -> xr.Dataset:
        """Samples with the coordinates and targets of the first test samples."""
        given, test = np.asarray(samples), self._split("test")
        shape = test["state"].shape
        if given.shape[1:] != shape[1:] or not 1 < len(given) <= shape[0]:
            raise ValueError(
                f"expected between 2 and {shape[0]} samples of shape {shape[1:]}, found an array of shape "
                f"{given.shape}"
            )
        if given.dtype.kind not in "fiu" or not np.isfinite(given).all():
            raise ValueError("samples must be finite real numbers")
        known = test.isel(sample=slice(len(given)))
        return known.assign(state=known["state"].copy(data=given.astype(np.float32)))

    def _bound(self, samples: xr.Dataset) -> dict[str, Constraint]:
        """The constraints that use no trained model, bound to the targets of samples."""
        example = self.dataset.isel(sample=slice(1))
        specs = {name: spec for name, spec in self.study.constraints.items() if not spec.depends_on()}
        return {name: spec.build(example).bind(samples) for name, spec in specs.items()}


def task(study: str | Path, *, scale: Scale = "laptop") -> Task:
    """Loads the sampling task of a study.

    Args:
        study: name of a study of this folder's `config/studies` or of the library, or its YAML file.
        scale: scale of the study.

    Raises:
        StudyError: the study is invalid; the message names every key at fault.
    """
    return Task(load_study(path_of_study(study), scale))
