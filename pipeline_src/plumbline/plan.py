"""Plans: the inputs of each job of a study, and the paths of its outputs.

Each job receives its slice: the part of the study that its result depends on, as canonical JSON. Snakemake
stores the slice as a parameter of the job. A changed key therefore reruns the jobs whose slice contains it,
and all jobs that depend on them. The folders of datasets and trained models are named after a digest of
everything that they depend on, so that studies can share them. Rules, command line and stages take all slices
and paths from this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from plumbline.method import MethodSpec
from plumbline.spec import canonical, digest
from plumbline.study import REAL, Study, StudyError
from plumbline.tuning import TuningSpec

DATASET_PART = "data/{dataset}/part-{part}.zarr"
REHEARSAL = "rehearsals/{dataset}/rehearsal.json"
MODEL_FOLDER = "models/{trained}/seed{seed}"
TUNING = "{study}/tuning/{method}.json"
SAMPLES_PART = "{study}/samples/{method}/seed{seed}/part-{part}.zarr"
METRICS = "{study}/metrics/{method}/seed{seed}.zarr"
COMPARISON = "{study}/comparison.zarr"
REPORT = "report.html"
"""The output of each rule below the folder of results, with the wildcards of the rule."""

WEIGHTS, CARD, LOG, CHECKPOINTS = "weights.pt", "model.json", "training_log.csv", "checkpoints"
"""The outputs of a training: weights, a card that describes the model, a log, a folder of checkpoints."""
OF_TRAINING = (WEIGHTS, CARD, LOG, CHECKPOINTS)
"""Everything that a finished training leaves."""
CHECKPOINT = "step{step}"
"""The folder of one checkpoint within the folder of checkpoints."""

P = ParamSpec("P")
R = TypeVar("R")


def once(method: Callable[Concatenate[Plan, P], R]) -> Callable[Concatenate[Plan, P], R]:
    """Keeps the results of a method of a plan by its arguments: many jobs have the same slice and files.

    The results are shared, so callers must not change them.
    """

    @wraps(method)
    def kept(plan: Plan, *args: P.args, **kwargs: P.kwargs) -> R:
        results = vars(plan).setdefault(f"_{method.__name__}", {})
        asked = (args, *kwargs.items())
        if asked not in results:
            results[asked] = method(plan, *args, **kwargs)
        return results[asked]

    return kept


def plans_of(studies: Iterable[Study], results: Path) -> dict[str, Plan]:
    """The plans of studies by name.

    Raises:
        StudyError: two studies have the same name, which is that of their folder of results.
    """
    plans: dict[str, Plan] = {}
    for study in studies:
        if study.name in plans:
            raise StudyError(
                f"two studies are called {study.name!r}: rename the file of one, or run one of them."
            )
        plans[study.name] = Plan(study, results)
    return plans


@dataclass(frozen=True)
class Plan:
    """The slices and paths of a study's jobs, in the order of the rules.

    The argument `judged` of several functions names what is evaluated: a method, a method at a checkpoint of
    its model (such as `ddpm-step100`), or held-out real data (`real`).

    Args:
        study: the study.
        results: the folder of results, at which all paths start.
    """

    study: Study
    results: Path = Path()

    # generate

    @once
    def generate_slice(self) -> str:
        """The dataset."""
        return self.study.dataset.canonical()

    @once
    def dataset_name(self) -> str:
        """Name of the dataset's folder. Studies with the same dataset share it."""
        return f"{self.study.dataset.kind}-{self.study.dataset.digest()}"

    @once
    def dataset_parts(self) -> list[Path]:
        """The parts of the dataset, in order."""
        return self._parts(DATASET_PART, self.study.dataset.parts, dataset=self.dataset_name())

    # rehearse

    def rehearsal(self) -> Path:
        """The file that records which studies have been rehearsed on the dataset."""
        return self.results / REHEARSAL.format(dataset=self.dataset_name())

    # train

    @once
    def train_slice(self, model: str) -> str:
        """The model, its constraints, the slices of models that it depends on, and the memory."""
        return canonical(self._train_values(model))

    @once
    def trained_name(self, model: str) -> str:
        """Name of the folder of a trained model with all its seeds. Studies with the same model share it."""
        return f"{model}-{digest(canonical(self._identity(model)))}"

    def model_folder(self, model: str, seed: int | str) -> Path:
        """Folder of a trained model with one seed."""
        return self.results / MODEL_FOLDER.format(trained=self.trained_name(model), seed=seed)

    def model_files(self, models: Iterable[str], seed: int | str) -> list[Path]:
        """The files of trained models with one seed."""
        folders = [self.model_folder(model, seed) for model in models]
        return [folder / name for folder in folders for name in (WEIGHTS, CARD, LOG)]

    def ancestors(self, model: str) -> list[str]:
        """The models that a model depends on, directly or through other models."""
        found: dict[str, None] = {}
        for name in self.study.depends_on(model):
            found |= dict.fromkeys([name, *self.ancestors(name)])
        return list(found)

    # tune

    def swept(self) -> list[str]:
        """The methods that are tuned."""
        return [name for name, method in self.study.methods.items() if method.sweep]

    @once
    def tune_slice(self, method: str) -> str:
        """The method with its sweep, its models, and all that its candidates are drawn and compared with."""
        study, tuning = self.study, self._tuning()
        spec = study.methods[method]
        return canonical(
            {
                "method": self._method(spec) | {"sweep": spec.model_dump(mode="json")["sweep"]},
                "models": self._drawn_from(spec),
                "constraints": self._constraints(study.constraints),
                "measuring_models": {name: self._train_values(name) for name in self.tuning_models()},
                "observation": study.observation.model_dump(mode="json") if study.observation else None,
                "metric": study.metrics[tuning.name()].model_dump(mode="json"),
                "tuning": tuning.model_dump(mode="json"),
                "samples": study.tuning_samples().model_dump(mode="json"),
                "memory": study.memory,
            }
        )

    @once
    def tuning_models(self) -> list[str]:
        """The models that the constraints, and the metric to choose by, use."""
        study = self.study
        of_metric = study.metrics[self._tuning().name()].depends_on()
        return list(dict.fromkeys([*study.constraint_models(study.constraints), *of_metric]))

    def tuning(self, method: str) -> Path:
        """The record of a method's tuning."""
        return self.results / TUNING.format(study=self.study.name, method=method)

    def tuned_by(self, judged: str) -> list[Path]:
        """The record that the samples depend on; none for a method without sweep."""
        name, _ = self.at_checkpoints().get(judged, (judged, 0))
        return [self.tuning(name)] if name in self.swept() else []

    def _tuning(self) -> TuningSpec:
        # The study's check ensures that a study with a sweep has it.
        assert self.study.tuning is not None
        return self.study.tuning

    # sample

    @once
    def at_checkpoints(self) -> dict[str, tuple[str, int]]:
        """Method and training step, by the name under which the method is evaluated at this step."""
        return {
            f"{name}-{CHECKPOINT.format(step=step)}": (name, step)
            for name in self.study.methods
            for step in self.study.checkpoint_steps(name)
        }

    def at_step(self, judged: str) -> tuple[MethodSpec, int | None]:
        """The method that is evaluated under a name, and the training step; None for the end of training."""
        name, step = self.at_checkpoints().get(judged, (judged, None))
        return self.study.methods[name], step

    @once
    def sample_slice(self, judged: str) -> str:
        """The method, its models without training settings, its constraints, and the number of samples.

        The choice from a sweep is an input of the job, as are the models of all candidates, which
        `drawn_from` names.
        """
        study, (method, _) = self.study, self.at_step(judged)
        constraints = method.sampler.constraint_names()
        return canonical(
            {
                "method": self._method(method),
                "drawn_from": method.models(),
                "models": self._drawn_from(method),
                "constraints": self._constraints(constraints),
                "constraint_models": self._constraint_models(constraints),
                "observation": study.observation.model_dump(mode="json") if study.observation else None,
                "samples": study.samples.model_dump(mode="json"),
            }
        )

    def drawn_from(self, judged: str, seed: int | str) -> list[Path]:
        """The files of the method's models, or the folder of checkpoints of its model."""
        method, step = self.at_step(judged)
        if step is None:
            return self.model_files(method.models(), seed)
        (model,) = method.models()
        return [self.model_folder(model, seed) / CHECKPOINTS]

    def samples(self, judged: str, seed: int | str) -> list[Path]:
        """The parts of the samples, in order; empty for real data, which are read from the dataset."""
        if judged == REAL:
            return []
        names = {"study": self.study.name, "method": judged, "seed": str(seed)}
        return self._parts(SAMPLES_PART, self.study.samples.parts, **names)

    # evaluate

    @once
    def evaluate_slice(self) -> str:
        """The metrics, all constraints, the models that both use, the number of samples, and the memory."""
        study = self.study
        return canonical(
            {
                "metrics": {name: metric.model_dump(mode="json") for name, metric in study.metrics.items()},
                "constraints": self._constraints(study.constraints),
                "models": {name: self._train_values(name) for name in self.measuring_models()},
                "samples": study.samples.model_dump(mode="json"),
                "memory": study.memory,
            }
        )

    @once
    def measuring_models(self) -> list[str]:
        """The models that the constraints and the metrics of the study use."""
        of_metrics = [model for metric in self.study.metrics.values() for model in metric.depends_on()]
        return list(dict.fromkeys([*self.study.constraint_models(self.study.constraints), *of_metrics]))

    def metrics(self, judged: str, seed: int | str) -> Path:
        """The store with the metrics of one seed."""
        return self.results / METRICS.format(study=self.study.name, method=judged, seed=seed)

    # compare

    @once
    def compare_slice(self) -> str:
        """The whole study."""
        return self.study.canonical()

    def comparison(self) -> Path:
        """The store with everything that the report shows of the study."""
        return self.results / COMPARISON.format(study=self.study.name)

    # The contents of slices and identities.

    def _method(self, method: MethodSpec) -> dict[str, object]:
        return method.model_dump(mode="json", exclude={"at_checkpoints", "sweep"})

    def _drawn_from(self, method: MethodSpec) -> list[dict[str, object]]:
        models = [self.study.models[name] for name in method.models()]
        return [model.model_dump(mode="json", exclude={"training"}) for model in models]

    def _train_values(self, model: str) -> dict[str, object]:
        spec = self.study.models[model]
        return {
            "model": spec.model_dump(mode="json"),
            "constraints": self._constraints(spec.constraint_names()),
            "models": {name: self._train_values(name) for name in spec.depends_on()},
            "constraint_models": self._constraint_models(spec.constraint_names()),
            "memory": self.study.memory,
        }

    def _identity(self, model: str) -> dict[str, object]:
        """Everything besides the seed that the weights depend on: the data, the slice, and other models."""
        return {
            "dataset": self.study.dataset.model_dump(mode="json"),
            "slice": self._train_values(model),
            "depends_on": {name: self._identity(name) for name in self.study.depends_on(model)},
        }

    def _constraints(self, names: Iterable[str]) -> dict[str, object]:
        return {name: self.study.constraints[name].model_dump(mode="json") for name in names}

    def _constraint_models(self, constraints: Iterable[str]) -> dict[str, object]:
        return {name: self._train_values(name) for name in self.study.constraint_models(constraints)}

    def _parts(self, pattern: str, count: int, **names: str) -> list[Path]:
        return [self.results / pattern.format(part=f"{part:04d}", **names) for part in range(count)]
