"""The page: one self-contained HTML file for all studies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import xarray as xr
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from plumbline import __version__
from plumbline.plan import Plan
from plumbline.reporting.figures.canvas import Figure, unique_ids
from plumbline.reporting.figures.checkpoints import against_training_time
from plumbline.reporting.figures.classes import class_fractions
from plumbline.reporting.figures.distances import cost_against_quality, distance_histogram
from plumbline.reporting.figures.ensembles import rank_histograms
from plumbline.reporting.figures.examples import examples
from plumbline.reporting.figures.gradients import gradients
from plumbline.reporting.figures.kernels import kernel_descent
from plumbline.reporting.figures.multipliers import multiplier_courses
from plumbline.reporting.figures.predictions import calibration, group_errors, predictions
from plumbline.reporting.figures.statistics import marginals, spectra
from plumbline.reporting.figures.trade_offs import trade_offs
from plumbline.reporting.figures.training import learning_curves, training_curves, validation_curves
from plumbline.reporting.tables import Table, cost_table, metric_table, warnings_of
from plumbline.storage.origins import origin_warnings
from plumbline.storage.store import load_store, partial_of
from plumbline.study import REAL, Study

MOST_COLUMNS = 64
"""Columns of a table, over which its samples are not drawn as lines."""
BOUND = re.compile(r'"(threshold|level)":[-+.e0-9]+')
"""A bound in the canonical text of a model."""


@dataclass(frozen=True)
class Section:
    """What the page shows of one study."""

    study: Study
    facts: list[tuple[str, str]]
    metrics: Table
    costs: Table
    warnings: list[str]
    figures: list[Figure]
    config: str
    provenance: dict[str, str]


def write_page(comparisons: Sequence[Path], output: Path) -> None:
    """Writes the report of these comparison stores, under a temporary name first."""
    sections = [section(load_store(path)) for path in comparisons]
    environment = Environment(
        loader=PackageLoader("plumbline", "reporting"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = with_code
    page = environment.get_template("page.html").render(
        sections=sections,
        style=(Path(__file__).parent / "page.css").read_text(),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        real=REAL,
    )
    partial = partial_of(output)
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, output)


def with_code(text: str) -> Markup:
    """Escaped text whose words between backticks are marked as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def section(comparison: xr.Dataset) -> Section:
    """All of one study, from its comparison store."""
    study = Study.model_validate_json(comparison.attrs["study"])
    table = metric_table(comparison)
    return Section(
        study=study,
        facts=facts(study, comparison),
        metrics=table,
        costs=cost_table(comparison),
        warnings=[*origin_warnings(comparison.attrs), *warnings_of(comparison)],
        figures=unique_ids(_figures(study, comparison, table), study.name),
        config=yaml.safe_dump(json.loads(comparison.attrs["study"]), sort_keys=False, allow_unicode=True),
        provenance={
            name.removeprefix("plumbline_").replace("_", " "): str(value)
            for name, value in comparison.attrs.items()
            if name.startswith(("plumbline_", "version_", "python", "host", "created"))
            and name != "plumbline_spec"
        },
    )


def facts(study: Study, comparison: xr.Dataset) -> list[tuple[str, str]]:
    """Names and values that say what is compared on what."""
    splits, plan = study.dataset.splits, Plan(study)
    examples = comparison["examples"]
    sizes = " × ".join(f"{examples.sizes[d]} {d}" for d in examples.dims[2:])
    models = [
        f"{name} ({study.models[name].kind}, {int(comparison['parameters'].sel(model=name)):,} parameters"
        + _training_time(comparison, name)
        for name in study.models
    ]
    return [
        ("Data", f"{study.dataset.kind}: {examples.attrs.get('long_name', 'state')}, {sizes}"),
        ("Splits", f"{splits.train:,} train, {splits.validation:,} validation, {splits.test:,} test"),
        ("Constraints", ", ".join(f"{name} ({c.kind})" for name, c in study.constraints.items()) or "none"),
        ("Models", "; ".join(models)),
        (
            "Model folders",
            ", ".join(str(plan.model_folder(name, study.seeds[0]).parent) for name in study.models),
        ),
        (
            "Samples",
            f"{study.samples.count:,} of each method and seed; seeds {', '.join(map(str, study.seeds))}",
        ),
        (
            "Sampled on",
            ", ".join(sorted(set(json.loads(comparison.attrs["samples_devices"]).values()) - {"none"})),
        ),
    ]


def _training_time(comparison: xr.Dataset, model: str) -> str:
    if not comparison.sizes.get("row"):
        return ", fitted)"
    seconds = comparison["training_wall_time_seconds"].sel(model=model).max("row").mean("seed")
    return f", trained {float(seconds):.0f} s)" if bool(seconds.notnull()) else ", fitted)"


def _figures(study: Study, comparison: xr.Dataset, table: Table) -> list[Figure]:
    constraint = next((name for name in study.constraints if f"distance_{name}" in comparison), None)
    quality = next((c.name for c in table.columns if c.name == "sliced_wasserstein"), None)
    optional = [
        *(distance_histogram(comparison, name) for name in study.constraints if f"distance_{name}_each" in comparison),
        *(against_training_time(comparison, name) for name in study.constraints),
        examples(comparison) if _can_be_seen(comparison) else None,
        cost_against_quality(comparison, quality, constraint) if quality and constraint else None,
        class_fractions(comparison),
        multiplier_courses(comparison, {name: bounds for name, m in study.models.items() if (bounds := m.bounds())}),
        trade_offs(comparison, _mean_bounds(study), "mean bound of the constraints"),
        *(trade_offs(comparison, values, dial) for dial, values in _dials(study).items()),
        kernel_descent(comparison),
        spectra(comparison),
        marginals(comparison),
        learning_curves(comparison, _training_sizes(study), "absolute_error") if "absolute_error" in comparison else None,
        gradients(comparison),
        predictions(comparison),
        group_errors(comparison),
        calibration(comparison),
        rank_histograms(comparison),
        validation_curves(comparison),
        training_curves(comparison),
    ]  # fmt: skip
    return [figure for figure in optional if figure is not None]


def _mean_bounds(study: Study) -> dict[str, tuple[str, float]]:
    """Method and mean bound of each method whose model has bounds; a method is all that is alike but for these."""
    found: dict[str, tuple[str, float]] = {}
    names: dict[str, str] = {}
    for method, spec in study.methods.items():
        model = study.models[spec.models()[0]]
        bounds = [bound for _, bound in model.bounds().values() if bound is not None]
        if bounds:
            alike = BOUND.sub("", model.canonical()) + spec.sampler.canonical()
            family = names.setdefault(alike, method)
            found[method] = (family, sum(bounds) / len(bounds))
    return found


def _dials(study: Study) -> dict[str, dict[str, tuple[str, float]]]:
    """By the number that methods trade by, the method and the number of each method; a method is all but that number."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    names: dict[str, str] = {}
    for method, spec in study.methods.items():
        model, sampler = study.models[spec.models()[0]], spec.sampler
        for own, other in ((model, sampler), (sampler, model)):
            if (dial := own.tradeoff_parameter()) is not None:
                alike = own.model_copy(update={dial: 0.0}).canonical() + other.canonical()
                family = names.setdefault(alike, method)
                found.setdefault(dial.replace("_", " "), {})[method] = (family, getattr(own, dial))
    return found


def _can_be_seen(comparison: xr.Dataset) -> bool:
    """Whether samples make a picture: fields do, tables of some columns too, but not of hundreds, nor gradients."""
    shown = comparison["examples"]
    return "gradient_bias" not in comparison and (shown.ndim > 3 or shown.shape[-1] <= MOST_COLUMNS)


def _training_sizes(study: Study) -> dict[str, tuple[str, int]]:
    """Method and number of training samples of each method.

    A family is a model but for that number, and has the name of the method with the most samples.
    """
    everything = study.dataset.splits.train
    counts = {
        g: study.models[spec.models()[0]].training.samples or everything for g, spec in study.methods.items()
    }
    names: dict[str, str] = {}
    for g in sorted(counts, key=counts.__getitem__):
        names[_but_for_samples(study, g)] = g
    return {g: (names[_but_for_samples(study, g)], count) for g, count in counts.items()}


def _but_for_samples(study: Study, method: str) -> str:
    """The method's models and sampler, without how many samples they were trained on."""
    spec = study.methods[method]
    models = [study.models[name] for name in spec.models()]
    alike = [
        m.model_copy(update={"training": m.training.model_copy(update={"samples": None})}) for m in models
    ]
    return " ".join([*(m.canonical() for m in alike), spec.sampler.canonical()])
