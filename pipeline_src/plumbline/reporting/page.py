"""The report page: one self-contained HTML file for all studies."""

from __future__ import annotations

import json
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
from plumbline.reporting.leaderboard import Problem, leaderboards, shared_methods
from plumbline.reporting.summary import StudySummary
from plumbline.reporting.tables import Table, cost_table, metric_table, warnings_of
from plumbline.reporting.tuned import TunedMethods, tuned_methods
from plumbline.storage.origins import origin_warnings
from plumbline.storage.partial import replace_text
from plumbline.storage.store import load_store
from plumbline.study import REAL

MOST_COLUMNS = 64
"""Largest number of columns for which samples of a table are drawn as lines."""


@dataclass(frozen=True)
class Section:
    """The content of the page for one study."""

    study: StudySummary
    facts: list[tuple[str, str]]
    metrics: Table
    costs: Table
    tuned: TunedMethods | None
    warnings: list[str]
    figures: list[Figure]
    config: str
    provenance: dict[str, str]


def write_page(comparisons: Sequence[Path], output: Path) -> None:
    """Writes the report of these comparison stores; the file is replaced atomically."""
    sections, problems = [], []
    for path in comparisons:
        comparison = load_store(path)
        sections.append(section(comparison))
        problems.append(Problem.of(comparison))
    boards = leaderboards(problems) if shared_methods(problems) else []
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
        boards=boards,
        style=(Path(__file__).parent / "page.css").read_text(),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        real=REAL,
    )
    replace_text(output, page)


def with_code(text: str) -> Markup:
    """Escapes text and marks the parts between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def section(comparison: xr.Dataset) -> Section:
    """The section of one study, from its comparison store."""
    study = StudySummary.model_validate_json(comparison.attrs["summary"])
    table = metric_table(comparison)
    return Section(
        study=study,
        facts=facts(study, comparison),
        metrics=table,
        costs=cost_table(comparison),
        tuned=tuned_methods(comparison),
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


def facts(study: StudySummary, comparison: xr.Dataset) -> list[tuple[str, str]]:
    """Names and values that summarise the data, constraints, models and samples of a study."""
    splits = study.splits
    examples = comparison["examples"]
    sizes = " × ".join(f"{examples.sizes[d]} {d}" for d in examples.dims[2:])
    models = [
        f"{name} ({kind}, {int(comparison['parameters'].sel(model=name)):,} parameters"
        + _training_time(comparison, name)
        for name, kind in study.models.items()
    ]
    return [
        ("Data", f"{study.dataset}: {examples.attrs.get('long_name', 'state')}, {sizes}"),
        ("Splits", ", ".join(f"{count:,} {name}" for name, count in splits.items())),
        ("Constraints", ", ".join(f"{name} ({kind})" for name, kind in study.constraints.items()) or "none"),
        ("Models", "; ".join(models)),
        ("Model folders", ", ".join(study.model_folders.values())),
        (
            "Samples",
            f"{study.samples:,} per method and seed; seeds {', '.join(map(str, study.seeds))}",
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


def _figures(study: StudySummary, comparison: xr.Dataset, table: Table) -> list[Figure]:
    constraint = next((name for name in study.constraints if f"distance_{name}" in comparison), None)
    quality = next((c.name for c in table.columns if c.name == "sliced_wasserstein"), None)
    constraints, error = study.constraints, "absolute_error"
    each = [name for name in constraints if f"distance_{name}_each" in comparison]
    optional = [
        *(distance_histogram(comparison, name) for name in each),
        *(against_training_time(comparison, name) for name in constraints),
        examples(comparison) if _can_be_seen(comparison) else None,
        cost_against_quality(comparison, quality, constraint) if quality and constraint else None,
        class_fractions(comparison),
        multiplier_courses(comparison, study.bounds),
        trade_offs(comparison, study.mean_bounds, "mean bound of the constraints"),
        *(trade_offs(comparison, values, parameter) for parameter, values in study.tradeoffs.items()),
        kernel_descent(comparison),
        spectra(comparison),
        marginals(comparison),
        learning_curves(comparison, study.training_sizes, error) if error in comparison else None,
        gradients(comparison),
        predictions(comparison),
        group_errors(comparison),
        calibration(comparison),
        rank_histograms(comparison),
        validation_curves(comparison),
        training_curves(comparison),
    ]  # fmt: skip
    return [figure for figure in optional if figure is not None]


def _can_be_seen(comparison: xr.Dataset) -> bool:
    """Whether samples can be drawn: fields, and tables of up to `MOST_COLUMNS` columns; not gradients."""
    shown = comparison["examples"]
    return "gradient_bias" not in comparison and (shown.ndim > 3 or shown.shape[-1] <= MOST_COLUMNS)
