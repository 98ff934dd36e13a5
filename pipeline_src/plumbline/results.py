"""Results of the workflow for notebooks and scripts: comparisons, samples, trained models and new samples."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from plumbline.plan import COMPARISON, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr
    from torch import nn

    from plumbline.study import Study
    from plumbline.tuning import Tuning


class StudyResults:
    """The results of one study.

    For example::

        results = plumbline.open_results("results/gaussian")
        results.table(["sliced_wasserstein"])
        results.draw("conditioned", 64, seed=0)["state"]

    Args:
        folder: the study's folder of results, such as `results/gaussian`.

    Raises:
        FileNotFoundError: the folder has no comparison of the study; the message names those that exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        store = self.folder / Path(COMPARISON).name
        if not store.is_dir():
            above = self.folder.parent
            there = sorted(found.parent.name for found in above.glob(COMPARISON.format(study="*")))
            raise FileNotFoundError(
                f"{store} does not exist. {above} has the comparisons of {', '.join(there) or 'no study'}: "
                f"run the workflow for {self.folder.name!r}, or name the folder of its results."
            )

    @cached_property
    def comparison(self) -> xr.Dataset:
        """Everything that the report shows (metrics, costs, training logs, examples), loaded lazily.

        Raises:
            CorruptStoreError: the store cannot be read.
        """
        from plumbline.storage.store import open_store

        return open_store(self.folder / Path(COMPARISON).name)

    @cached_property
    def config(self) -> Study:
        """The study that was run, at the scale of the run.

        Raises:
            ValidationError: it uses a plug-in that is missing or has changed since.
        """
        from plumbline.study import Study

        return Study.model_validate_json(self.comparison.attrs["study"])

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The data of all splits, loaded lazily."""
        from plumbline.storage.store import open_parts

        return open_parts(self._plan.dataset_parts())

    def samples(self, method: str, seed: int = 0) -> xr.Dataset:
        """The samples of a method, loaded lazily.

        Args:
            method: name of the method.
            seed: one of the study's seeds.

        Raises:
            ValueError: there is no such method or seed.
        """
        from plumbline.storage.store import open_parts

        self._require(method, seed)
        return open_parts(self._plan.samples(method, seed))

    def tuning(self, method: str) -> Tuning:
        """The record of a method's tuning: all candidates, their metric and costs, and the choice.

        Raises:
            ValueError: there is no such method, or it has no sweep.
        """
        from plumbline.tuning import read_tuning

        _require_one_of(method, self._plan.swept(), "method with a sweep")
        return read_tuning(self._plan.tuning(method))

    def model(self, name: str, seed: int = 0) -> nn.Module:
        """Loads a trained model in evaluation mode.

        Args:
            name: name of the model.
            seed: one of the study's seeds.

        Raises:
            ValueError: there is no such model or seed.
            CorruptStoreError: its folder contains no readable model.
        """
        from plumbline.stages.trained import example_of, load_model

        _require_one_of(name, list(self.config.models), "model")
        _require_one_of(seed, list(self.config.seeds), "seed")
        model: nn.Module = load_model(self._plan.model_folder(name, seed), example_of(self.dataset))
        return model

    def draw(self, method: str, count: int, *, seed: int = 0, torch_seed: int = 0) -> xr.Dataset:
        """Draws new samples of a method, one per test sample, for the first `count` test samples.

        Args:
            method: name of the method.
            count: number of samples.
            seed: the seed of its trained models.
            torch_seed: seed of the random numbers.

        Returns:
            The samples as `state`, with their costs as attributes (see
            `plumbline.stages.sample.draw_samples`).

        Raises:
            ValueError: there is no such method or seed, or the test split has fewer samples than `count`.
        """
        from plumbline.stages.sample import draw_samples
        from plumbline.stages.trained import build_constraints, example_of, load_model, load_models
        from plumbline.storage.store import select_split

        self._require(method, seed)
        study, plan = self.config, self._plan
        spec = study.methods[method]
        if spec.sweep:
            spec = spec.chosen(self.tuning(method).best.values)
        there = study.dataset.splits.test
        if not 0 < count <= there:
            raise ValueError(
                f"`count` must be between 1 and {there}, the number of test samples, found {count}"
            )
        known = select_split(self.dataset, "test", slice(count))
        example = example_of(self.dataset)
        used = {name: study.constraints[name] for name in spec.sampler.constraint_names()}
        names = study.constraint_models(used)
        folders = [plan.model_folder(name, seed) for name in names]
        measuring = load_models(names, folders, example)
        return draw_samples(
            spec,
            [load_model(plan.model_folder(name, seed), example) for name in spec.models()],
            known,
            constraints=build_constraints(used, example, measuring),
            observation=study.observation,
            torch_seed=torch_seed,
            seed=seed,
        )

    def export(self, name: str, folder: str | Path, seed: int = 0) -> None:
        """Writes a trained diffusion model as an azula denoiser that loads without this library.

        Args:
            name: name of the model.
            folder: a new or empty folder; its file `denoiser.py` loads the denoiser.
            seed: one of the study's seeds.

        Raises:
            ValueError: there is no such model or seed.
            ExportError: the model is not a diffusion model in standardised data, or the folder is not empty.
        """
        from plumbline.export import export_denoiser

        export_denoiser(self.model(name, seed), Path(folder))

    def table(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """The mean of each metric over seeds, with a row per method and one for real data, the floor.

        Args:
            metrics: names of the metrics, one column each; None for all.

        Raises:
            ValueError: there is no such metric.
        """
        import pandas as pd

        from plumbline.reporting.tables import metric_table

        table = metric_table(self.comparison.load(), metrics)
        rows = {method: [cell.mean for cell in cells] for method, cells in table.rows.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=[column.name for column in table.columns])

    @property
    def _plan(self) -> Plan:
        return Plan(self.config, self.folder.parent)

    def _require(self, method: str, seed: int) -> None:
        _require_one_of(method, list(self.config.methods), "method")
        _require_one_of(seed, list(self.config.seeds), "seed")


def _require_one_of(value: object, known: list[object] | list[str] | list[int], what: str) -> None:
    if value not in known:
        raise ValueError(f"there is no {what} {value!r}; available: {', '.join(map(str, known))}")


def open_results(folder: str | Path) -> StudyResults:
    """Opens the results of a study.

    Args:
        folder: the study's folder of results, such as `results/gaussian`.

    Raises:
        FileNotFoundError: the folder has no comparison of the study; the message names those that exist.
    """
    return StudyResults(folder)
