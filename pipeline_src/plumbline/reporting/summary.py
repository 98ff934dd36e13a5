"""The description of a study for the report, stored with the comparison.

The report is written from comparisons only, because a study may use kinds of a plug-in that no longer exists.
"""

from __future__ import annotations

import re

from pydantic import BaseModel

from plumbline.plan import Plan
from plumbline.study import Study

BOUND = re.compile(r'"(threshold|level)":[-+.e0-9]+')
"""Matches a bound in the canonical JSON of a model."""

Families = dict[str, tuple[str, float]]
"""Family and value of each method. The methods of a family differ only in this value."""


class StudySummary(BaseModel):
    """A study as the report shows it.

    Attributes:
        name: name of the study.
        title: its title.
        description: its description.
        dataset: kind of the dataset.
        splits: number of samples by split.
        constraints: kind of each constraint.
        models: kind of each model.
        model_folders: folder of each model, relative to the folder of results.
        samples: samples of each method and seed.
        seeds: the seeds.
        bounds: for each model with bounds and each of its constraints, the bounded column of the training log
            and the bound.
        mean_bounds: family and mean bound of each method whose model has bounds.
        tradeoffs: for each trade-off parameter, family and value of each method that has it.
        training_sizes: family and number of training samples of each method.
    """

    name: str
    title: str
    description: str
    dataset: str
    splits: dict[str, int]
    constraints: dict[str, str]
    models: dict[str, str]
    model_folders: dict[str, str]
    samples: int
    seeds: list[int]
    bounds: dict[str, dict[str, tuple[str, float | None]]]
    mean_bounds: Families
    tradeoffs: dict[str, Families]
    training_sizes: dict[str, tuple[str, int]]


def summarise(study: Study) -> StudySummary:
    """The summary of a study."""
    plan = Plan(study)
    splits = study.dataset.splits
    return StudySummary(
        name=study.name,
        title=study.title,
        description=study.description,
        dataset=study.dataset.kind,
        splits={"train": splits.train, "validation": splits.validation, "test": splits.test},
        constraints={name: spec.kind for name, spec in study.constraints.items()},
        models={name: spec.kind for name, spec in study.models.items()},
        model_folders={name: str(plan.model_folder(name, study.seeds[0]).parent) for name in study.models},
        samples=study.samples.count,
        seeds=list(study.seeds),
        bounds={name: found for name, model in study.models.items() if (found := model.bounds())},
        mean_bounds=_mean_bounds(study),
        tradeoffs=_tradeoffs(study),
        training_sizes=_training_sizes(study),
    )


def _mean_bounds(study: Study) -> Families:
    """Family and mean bound of each method whose model has bounds.

    The methods of a family differ only in their bounds. A family is named after its first method.
    """
    found: Families = {}
    names: dict[str, str] = {}
    for method, spec in study.methods.items():
        if not spec.models():
            continue
        model = study.models[spec.models()[0]]
        bounds = [bound for _, bound in model.bounds().values() if bound is not None]
        if bounds:
            alike = BOUND.sub("", model.canonical()) + spec.sampler.canonical()
            family = names.setdefault(alike, method)
            found[method] = (family, sum(bounds) / len(bounds))
    return found


def _tradeoffs(study: Study) -> dict[str, Families]:
    """Family and value of each method with a trade-off parameter, by the name of the parameter.

    A family is named after its first method.
    """
    found: dict[str, Families] = {}
    names: dict[str, str] = {}
    for method, spec in study.methods.items():
        if not spec.models():
            continue
        model, sampler = study.models[spec.models()[0]], spec.sampler
        for own, other in ((model, sampler), (sampler, model)):
            if (parameter := own.tradeoff_parameter()) is not None:
                alike = own.model_copy(update={parameter: 0.0}).canonical() + other.canonical()
                family = names.setdefault(alike, method)
                name = parameter.replace("_", " ")
                found.setdefault(name, {})[method] = (family, getattr(own, parameter))
    return found


def _training_sizes(study: Study) -> dict[str, tuple[str, int]]:
    """Family and number of training samples of each method.

    A family is named after its method with the most training samples.
    """
    all_samples = study.dataset.splits.train
    counts = {
        g: study.models[spec.models()[0]].training.samples or all_samples
        for g, spec in study.methods.items()
        if spec.models()
    }
    names: dict[str, str] = {}
    for g in sorted(counts, key=counts.__getitem__):
        names[_without_sample_count(study, g)] = g
    return {g: (names[_without_sample_count(study, g)], count) for g, count in counts.items()}


def _without_sample_count(study: Study, method: str) -> str:
    """The canonical text of a method's models and sampler, without the numbers of training samples."""
    spec = study.methods[method]
    models = [study.models[name] for name in spec.models()]
    alike = [
        m.model_copy(update={"training": m.training.model_copy(update={"samples": None})}) for m in models
    ]
    return " ".join([*(m.canonical() for m in alike), spec.sampler.canonical()])
