"""Results of the workflow, for notebooks and scripts: comparisons, samples, trained models, and further samples of a method."""

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


class StudyResults:
    """What a run of the workflow left of one study.

    For example::

        results = plumbline.open_results("results/gaussian")
        results.table(["sliced_wasserstein"])
        results.draw("conditioned", 64, seed=0)["state"]

    Args:
        folder: the study's folder of results, such as `results/gaussian`.

    Raises:
        FileNotFoundError: the study has not been compared there; the message names those that have.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        store = self.folder / Path(COMPARISON).name
        if not store.is_dir():
            above = self.folder.parent
            there = sorted(found.parent.name for found in above.glob(COMPARISON.format(study="*")))
            raise FileNotFoundError(
                f"{store} is not there. {above} has the comparisons of {', '.join(there) or 'no study'}: run the "
                f"workflow for {self.folder.name!r}, or name the folder of its results."
            )

    @cached_property
    def comparison(self) -> xr.Dataset:
        """Metrics, costs, training logs and examples, all that the report shows, as a lazy dataset.

        Raises:
            CorruptStoreError: the store cannot be read.
        """
        from plumbline.storage.store import open_store

        return open_store(self.folder / Path(COMPARISON).name)

    @cached_property
    def config(self) -> Study:
        """The study that was run, at its scale.

        Raises:
            ValidationError: it uses a plug-in that is not there, or has changed since.
        """
        from plumbline.study import Study

        return Study.model_validate_json(self.comparison.attrs["study"])

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The data of all splits, lazily."""
        from plumbline.storage.store import open_parts

        return open_parts(self._plan.dataset_parts())

    def samples(self, method: str, seed: int = 0) -> xr.Dataset:
        """The samples of a method, lazily.

        Args:
            method: name of the method.
            seed: one of the study's seeds.

        Raises:
            ValueError: there is no such method or seed.
        """
        from plumbline.storage.store import open_parts

        self._require(method, seed)
        return open_parts(self._plan.samples(method, seed))

    def model(self, name: str, seed: int = 0) -> nn.Module:
        """A trained model, ready to draw from.

        Args:
            name: name of the model.
            seed: one of the study's seeds.

        Raises:
            ValueError: there is no such model or seed.
            CorruptStoreError: its folder holds no readable model.
        """
        from plumbline.stages.trained import example_of, load_model

        _require_one_of(name, list(self.config.models), "model")
        _require_one_of(seed, list(self.config.seeds), "seed")
        model: nn.Module = load_model(self._plan.model_folder(name, seed), example_of(self.dataset))
        return model

    def draw(self, method: str, count: int, *, seed: int = 0, torch_seed: int = 0) -> xr.Dataset:
        """New samples of a method, for the first test samples.

        Args:
            method: name of the method.
            count: number of samples.
            seed: the seed of its trained models.
            torch_seed: random seed of the draw.

        Raises:
            ValueError: there is no such method or seed, or the test split has fewer samples than `count`.
        """
        from plumbline.stages.sample import draw_samples
        from plumbline.stages.trained import build_constraints, example_of, load_model, load_models
        from plumbline.storage.store import select_split

        self._require(method, seed)
        study, plan = self.config, self._plan
        spec = study.methods[method]
        known = select_split(self.dataset, "test")
        if not 0 < count <= known.sizes["sample"]:
            raise ValueError(
                f"`count` must be between 1 and {known.sizes['sample']}, the test samples, found {count}"
            )
        example = example_of(self.dataset)
        names = study.constraint_models(spec.sampler.constraint_names())
        folders = [plan.model_folder(name, seed) for name in names]
        measuring = load_models(names, folders, example)
        wanted = {
            name: study.constraints[name].model_dump(mode="json") for name in spec.sampler.constraint_names()
        }
        return draw_samples(
            spec,
            [load_model(plan.model_folder(name, seed), example) for name in spec.models()],
            known.isel(sample=slice(count)),
            constraints=build_constraints(wanted, example, measuring),
            observation=study.observation,
            torch_seed=torch_seed,
            seed=seed,
        )

    def table(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Mean over seeds of each metric, by method, with real data as the floor.

        Args:
            metrics: names of the metrics; None for all.

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
        raise ValueError(f"there is no {what} {value!r}; there are {', '.join(map(str, known))}")


def open_results(folder: str | Path) -> StudyResults:
    """The results of a study.

    Args:
        folder: the study's folder of results, such as `results/gaussian`.

    Raises:
        FileNotFoundError: the study has not been compared there; the message names those that have.
    """
    return StudyResults(folder)
