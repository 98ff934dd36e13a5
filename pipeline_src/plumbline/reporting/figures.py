"""Figures of the report, as SVG whose ink is the text colour of the page, so that they suit light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.tables import ordered_generators
from plumbline.study import REAL

INK = "#010203"
"""A colour that stands for the page's own and is replaced by `currentColor`."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plumbline",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
}
# Colours that differ in lightness too, legible on white and on near-black.
PALETTE = (
    "#0a84c6", "#e07b00", "#1f9e6e", "#c2528b", "#8a63d2", "#b3922e", "#d1495b", "#3aa6a6", "#7a8793", "#6a994e",
    "#5b5fc7", "#a0522d", "#e377a8", "#14746f",
)  # fmt: skip
# Distances under this share of the largest are drawn there: what is exact has no logarithm.
SMALLEST_SHARE = 1e-9
# Biases under this are drawn there.
SMALLEST_BIAS = 1e-8
# Losses of either sign are drawn on a linear axis up to this one.
LARGEST_ON_A_LINE = 100.0
# Spectra are drawn down to this share of their largest value.
SMALLEST_ENERGY = 1e-11


@dataclass(frozen=True)
class Figure:
    """An SVG with its alternative text and caption."""

    name: str
    svg: str
    alt: str
    caption: str


def colours(comparison: xr.Dataset) -> dict[str, str]:
    """A colour for each generator; real data has the page's ink."""
    others = [g for g in ordered_generators(comparison) if g != REAL]
    return {REAL: INK} | {g: PALETTE[i % len(PALETTE)] for i, g in enumerate(others)}


def distance_histogram(comparison: xr.Dataset, constraint: str) -> Figure:
    """Distances to a constraint over the largest among all generators, as histograms of their logarithm."""
    each = comparison[f"distance_{constraint}_each"]
    largest = float(each.max())
    with mpl.rc_context(STYLE):
        generators, palette = ordered_generators(comparison), colours(comparison)
        rows = len(generators)
        canvas = Canvas(figsize=(6.4, 0.42 * rows + 0.8))
        axes = canvas.subplots(rows, 1, sharex=True, gridspec_kw={"hspace": 0.15})
        values = {
            g: np.log10(np.maximum(_finite(each.sel(generator=g)) / largest, SMALLEST_SHARE))
            for g in generators
        }
        low = min(v.min() for v in values.values() if len(v)) - 0.2
        bins = np.linspace(low, 0.05, 90)
        for axis, g in zip(np.atleast_1d(axes), generators, strict=True):
            axis.hist(values[g], bins=bins, color=palette[g], alpha=0.9)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            axis.set_ylabel(g, rotation=0, ha="right", va="center")
            axis.grid(axis="y", visible=False)
        axis.set_xlabel(f"log10 of distance to {constraint}, over the largest ({largest:.3g})")
        svg = _svg(canvas)
    medians = ", ".join(f"{g} {10 ** float(np.median(v)):.2g}" for g, v in values.items() if len(v))
    return Figure(
        f"histogram-{constraint}",
        svg,
        f"Histograms of the distance to {constraint} of each generator's samples. Medians, over the largest "
        f"distance: {medians}.",
        f"Distance to {constraint} of every sample of all seeds, over the largest one; what is under 1e-9 of it is "
        f"drawn there. Real data is the floor.",
    )


def examples(comparison: xr.Dataset) -> Figure:
    """Samples of each generator beside the data, on one colour scale or one axis."""
    shown = comparison["examples"]
    shown = shown.sel(generator=ordered_generators(comparison))
    return _field_examples(shown) if shown.ndim > 3 else _table_examples(comparison, shown)


def _field_examples(shown: xr.DataArray) -> Figure:
    """Rows of images, one a generator. Channels beyond the first are left out."""
    generators = [str(g) for g in shown["generator"].values]
    low, high = (float(q) for q in np.quantile(shown.sel(generator=REAL).values, [0.001, 0.999]))
    vertical, horizontal = shown.dims[-2:]
    # Rows of photographs are counted from the top.
    down = shown[vertical].attrs.get("positive") == "down"
    origin, way = ("upper", "downwards") if down else ("lower", "upwards")
    with mpl.rc_context(STYLE):
        count = shown.sizes["example"]
        canvas = Canvas(figsize=(1.15 * count + 1.4, 1.18 * len(generators)))
        axes = canvas.subplots(len(generators), count, squeeze=False)
        for row, g in zip(axes, generators, strict=True):
            for axis, image in zip(row, shown.sel(generator=g).values, strict=True):
                flat = image.reshape(-1, *image.shape[-2:])[0]
                drawn = axis.imshow(flat, vmin=low, vmax=high, cmap="viridis", origin=origin, aspect="auto")
                axis.set_xticks([])
                axis.set_yticks([])
            row[0].set_ylabel(g, rotation=0, ha="right", va="center")
        bar = canvas.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
        bar.set_label(f"{shown.attrs.get('long_name', 'state')} ({shown.attrs.get('units', '1')})")
        svg = _svg(canvas)
    return Figure(
        "examples",
        svg,
        f"{count} samples of each of {', '.join(generators)}, as images of {vertical} {way} and {horizontal} to "
        f"the right, on the colour scale of the real data.",
        f"Samples, {vertical} {way}, {horizontal} to the right, on one colour scale; the first row is real data.",
    )


def _table_examples(comparison: xr.Dataset, shown: xr.DataArray) -> Figure:
    """A panel a generator: its samples as lines over the coordinates, before those of the data."""
    palette = colours(comparison)
    generators = [str(g) for g in shown["generator"].values]
    dim = str(shown.dims[-1])
    labels = [str(v) for v in shown[dim].values]
    real = shown.sel(generator=REAL).values
    smallest = float(np.quantile(np.abs(real), 0.3)) or 1e-6
    unit = shown.attrs.get("units", "1")
    columns = 3
    rows = -(-len(generators) // columns)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 1.75 * rows + 0.4))
        axes = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis in axes[len(generators) :]:
            axis.set_visible(False)
        for axis, g in zip(axes, generators, strict=False):
            axis.plot(labels, real.T, color=INK, alpha=0.3, linewidth=0.8)
            if g != REAL:
                axis.plot(labels, shown.sel(generator=g).values.T, color=palette[g], linewidth=1)
            axis.set_title(g, fontsize=9)
            axis.set_yscale("symlog", linthresh=smallest, linscale=1.5)
            axis.yaxis.get_major_locator().set_params(numticks=5)
            axis.tick_params(axis="x", rotation=90)
        axes[0].set_ylabel(f"{shown.attrs.get('long_name', 'state')} ({unit})")
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    count = shown.sizes["example"]
    return Figure(
        "examples",
        svg,
        f"{count} samples of each of {', '.join(generators)}, as lines over {dim}, before those of the real data.",
        f"{count} samples of each generator (coloured) and as many real ones (grey), for the same conditions; the "
        f"axis is linear within ± {smallest:.1g} {unit if unit != '1' else ''}".rstrip()
        + ".",
    )


def training_curves(comparison: xr.Dataset) -> Figure | None:
    """Training loss against steps, a line a model and seed; nothing if no model was trained by steps."""
    if not comparison.sizes.get("row"):
        return None
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 2.8))
        axis = canvas.subplots()
        names, lowest, largest = [], np.inf, -np.inf
        for i, model in enumerate(str(m) for m in comparison["model"].values):
            for j, seed in enumerate(comparison["seed"].values):
                run = comparison.sel(model=model, seed=seed)
                steps, loss = run["training_step"].values, run["training_loss"].values
                if np.isfinite(loss).any():
                    axis.plot(
                        steps,
                        _smoothed(loss),
                        color=PALETTE[i % len(PALETTE)],
                        alpha=1 - 0.35 * min(j, 2),
                        linewidth=1.2,
                    )
                    axis.lines[-1].set_label(model if j == 0 else None)
                    lowest, largest = (
                        min(lowest, float(np.nanmin(loss))),
                        max(largest, float(np.nanmax(loss))),
                    )
                    names.append(f"{model} seed {seed}: {_last(loss):.3g}")
        # Likelihoods make losses of either sign, and some start at thousands.
        axis.set_yscale("log" if lowest > 0 else "symlog" if largest > LARGEST_ON_A_LINE else "linear")
        axis.set_xlabel("optimiser steps")
        axis.set_ylabel("training loss")
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    return Figure(
        "training",
        svg,
        f"Training loss against optimiser steps. Mean of the last tenth: {'; '.join(names)}.",
        "Training loss, a moving mean over a fortieth of the training; a line a seed. Losses of different "
        "objectives are in different units.",
    )


def validation_curves(comparison: xr.Dataset) -> Figure | None:
    """Error on the validation split against steps, a line a model; nothing if none was validated."""
    quantities = {
        "validation_absolute_error": "mean absolute error on the validation split, scaled",
        "validation_loss": "loss on the validation split",
    }
    told = [name for name in quantities if f"training_{name}" in comparison]
    if not told:
        return None
    curves = comparison[f"training_{told[0]}"].mean("seed")
    steps = comparison["training_step"].isel(seed=0)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.8, 3.4))
        axis = canvas.subplots()
        ends = []
        for i, model in enumerate(str(m) for m in comparison["model"].values):
            curve = curves.sel(model=model).values
            judged = np.isfinite(curve)
            if judged.any():
                axis.loglog(
                    steps.sel(model=model).values[judged],
                    curve[judged],
                    color=PALETTE[i % len(PALETTE)],
                    linewidth=1.2,
                    label=model,
                )
                ends.append(f"{model} {curve[judged][-1]:.3g}")
        axis.set_xlabel("optimiser steps")
        axis.set_ylabel(quantities[told[0]])
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    return Figure(
        "validation",
        svg,
        f"{quantities[told[0]].capitalize()} against optimiser steps. At the end: {'; '.join(ends)}.",
        f"{quantities[told[0]].capitalize()}, by the weights that samples would be drawn from at that step, mean "
        "over seeds.",
    )


def cost_against_quality(comparison: xr.Dataset, quality: str, constraint: str) -> Figure:
    """What a sample costs, and how near it is to the constraint, against its distance to the data."""
    generators, palette = ordered_generators(comparison), colours(comparison)
    title = comparison[quality].attrs["long_name"]
    panels = (
        ("cost_sampling_seconds_per_sample", "sampling time a sample (s)"),
        (f"distance_{constraint}", f"distance to {constraint}"),
    )
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(7.2, 3.6))
        axes = canvas.subplots(1, 2, sharey=True)
        for axis, (name, label) in zip(axes, panels, strict=True):
            smallest = SMALLEST_SHARE * float(comparison[name].max())
            for g in generators:
                one = comparison.sel(generator=g)
                x, y = one[name].values, one[quality].values
                if np.isfinite(x).all():
                    axis.plot(np.maximum(x, smallest), y, "o", color=palette[g], markersize=5, label=g)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xlabel(label)
            axis.axhline(
                float(comparison[quality].sel(generator=REAL).mean()), color=INK, linestyle=":", linewidth=1
            )
        axes[0].set_ylabel(title)
        handles, labels = axes[1].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=4)
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    means = ", ".join(f"{g} {float(comparison[quality].sel(generator=g).mean()):.3g}" for g in generators)
    return Figure(
        "cost",
        svg,
        f"{title} against sampling time and against distance to {constraint}. {title}: {means}.",
        f"{title} against cost and constraint, a point a seed; the dotted line is real data. Lower and further left "
        f"is better.",
    )


def spectra(comparison: xr.Dataset) -> Figure | None:
    """Energy spectra of generators and data, for fields."""
    if "spectrum" not in comparison:
        return None
    generators, palette = ordered_generators(comparison), colours(comparison)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 3.0))
        axis = canvas.subplots()
        k = comparison["wavenumber"].values
        for g in generators:
            energy = comparison["spectrum"].sel(generator=g).mean("seed").values
            axis.loglog(k, energy, color=palette[g], linewidth=2 if g == REAL else 1.2, label=g)
        axis.set_ylim(bottom=SMALLEST_ENERGY * float(comparison["spectrum"].max()))
        axis.set_xlabel("wavenumber (waves in the domain)")
        axis.set_ylabel("energy")
        axis.legend(ncols=2, fontsize=8)
        svg = _svg(canvas)
    return Figure(
        "spectra",
        svg,
        f"Energy spectra of {', '.join(generators)} against wavenumber, on logarithmic axes.",
        "Energy spectrum, mean over seeds.",
    )


def marginals(comparison: xr.Dataset) -> Figure | None:
    """Wasserstein distance of each coordinate, for tables."""
    if "marginal_wasserstein_by" not in comparison:
        return None
    each = comparison["marginal_wasserstein_by"].mean("seed")
    dim = next(str(d) for d in each.dims if d != "generator")
    generators, palette = ordered_generators(comparison), colours(comparison)
    labels = [str(v) for v in each[dim].values]
    values = {g: each.sel(generator=g).values for g in generators}
    svg = _dots(values, palette, labels, "", "Wasserstein distance (std)")
    worst = ", ".join(f"{g} {labels[int(each_of_g.argmax())]}" for g, each_of_g in values.items())
    return Figure(
        "marginals",
        svg,
        f"Wasserstein distance of each {dim}, by generator. Largest at: {worst}.",
        f"Wasserstein distance of each {dim} to the test split, mean over seeds.",
    )


def predictions(comparison: xr.Dataset) -> Figure | None:
    """Errors of predicted means against true values, a panel a generator."""
    if "pairs" not in comparison:
        return None
    pairs = comparison["pairs"].isel(seed=0)
    generators = [g for g in ordered_generators(comparison) if np.isfinite(pairs.sel(generator=g)).all()]
    palette = colours(comparison)
    unit = pairs.attrs.get("units", "1")
    columns = 4
    rows = -(-len(generators) // columns)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 2.1 * rows + 0.3))
        axes = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis in axes[len(generators) :]:
            axis.set_visible(False)
        for axis, g in zip(axes, generators, strict=False):
            true, predicted = pairs.sel(generator=g).values.T
            axis.axhline(0.0, color=INK, linestyle=":", linewidth=1)
            axis.plot(true, predicted - true, ".", color=palette[g], markersize=2.5, alpha=0.7)
            axis.set_title(g, fontsize=8)
        canvas.supxlabel(f"true value ({unit})", fontsize=9)
        canvas.supylabel(f"predicted mean minus true value ({unit})", fontsize=9)
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    return Figure(
        "predictions",
        svg,
        f"Errors of the predicted means against true values of the test split, for {', '.join(generators)}.",
        f"Errors of predicted means, {pairs.sizes['point']} of the test split, first seed; panels share one scale.",
    )


def group_errors(comparison: xr.Dataset) -> Figure | None:
    """Mean absolute error by group, the largest groups first."""
    if "error_by_group" not in comparison:
        return None
    size = comparison["size_of_group"].max(("seed", "generator"))
    largest = size.sortby(size, ascending=False).isel(group=slice(0, 12))["group"]
    error = comparison["error_by_group"].sel(group=largest).mean("seed")
    labels = [str(name) for name in comparison["group_name"].sel(group=largest).values]
    palette = colours(comparison)
    generators = [g for g in ordered_generators(comparison) if np.isfinite(error.sel(generator=g)).any()]
    unit = error.attrs.get("units", "1")
    svg = _dots(
        {g: error.sel(generator=g).values for g in generators},
        palette,
        labels,
        "group, from the largest to the smallest",
        f"mean absolute error ({unit})",
    )
    return Figure(
        "groups",
        svg,
        f"Mean absolute error in the twelve largest groups, {', '.join(labels)}, for {', '.join(generators)}.",
        "Mean absolute error of the predicted means in the twelve largest groups, mean over seeds.",
    )


def gradients(comparison: xr.Dataset) -> Figure | None:
    """Bias and error of gradient estimators against the dimension, for means and variances apart."""
    if "gradient_bias" not in comparison:
        return None
    palette = colours(comparison)
    # The exact gradient has no error to draw, and would stretch the axes.
    scatter = comparison["gradient_variance"]
    generators = [g for g in ordered_generators(comparison) if float(scatter.sel(generator=g).max()) > 0]
    dimension = comparison["dimension"].values
    quantities = (("gradient_bias", "bias"), ("gradient_error", "error"), ("gradient_variance", "variance"))
    losses = [str(loss) for loss in comparison["loss"].values]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 7.6))
        axes = canvas.subplots(2 * len(losses), len(quantities), sharex=True, squeeze=False)
        for row, (loss, parameters) in zip(
            axes, ((loss, p) for loss in losses for p in ("mean", "variance")), strict=True
        ):
            for axis, (name, label) in zip(row, quantities, strict=True):
                values = comparison[name].sel(loss=loss, gradient_of=parameters).mean(("seed", "equalities"))
                for g in generators:
                    y = np.maximum(values.sel(generator=g).values, SMALLEST_BIAS)
                    axis.plot(dimension, y, "o-", color=palette[g], markersize=3, linewidth=1, label=g)
                axis.set_xscale("log")
                axis.set_yscale("log")
                axis.set_title(f"{label}, {parameters}s, {loss} loss", fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("dimension")
        canvas.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8
        )
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    bias = (
        comparison["gradient_bias"]
        .sel(gradient_of="variance")
        .mean(("seed", "equalities", "loss", "dimension"))
    )
    told = ", ".join(f"{g} {float(bias.sel(generator=g)):.2g}" for g in generators)
    return Figure(
        "gradients",
        svg,
        f"Bias, error and variance of gradient estimators against dimension, for the gradients in means and in "
        f"variances, for absolute and squared losses. Mean bias in the variances: {told}.",
        "Gradient estimators against the dimension, mean over problems, numbers of equalities and seeds; what is "
        "under 1e-8 is drawn there.",
    )


def learning_curves(comparison: xr.Dataset, sizes: dict[str, tuple[str, int]], error: str) -> Figure | None:
    """An error against the number of training samples, a line a method.

    Args:
        comparison: a study's comparison.
        sizes: method and number of training samples of each generator.
        error: the metric.
    """
    methods: dict[str, list[tuple[int, str]]] = {}
    for g, (method, count) in sizes.items():
        methods.setdefault(method, []).append((count, g))
    curves = {method: sorted(points) for method, points in methods.items() if len(points) > 1}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 3.4))
        axis = canvas.subplots()
        for i, (method, points) in enumerate(curves.items()):
            values = comparison[error].sel(generator=[g for _, g in points])
            counts = [count for count, _ in points]
            axis.errorbar(
                counts, values.mean("seed"), values.std("seed", ddof=1 if values.sizes["seed"] > 1 else 0),
                color=PALETTE[i % len(PALETTE)], marker="o", markersize=4, linewidth=1.2, capsize=2, label=method,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("training samples")
        axis.set_ylabel(f"{comparison[error].attrs['long_name']} ({comparison[error].attrs['units']})")
        axis.legend(ncols=2, fontsize=8)
        svg = _svg(canvas)
    told = "; ".join(
        f"{method} {', '.join(f'{float(comparison[error].sel(generator=g).mean()):.3g} at {n}' for n, g in points)}"
        for method, points in curves.items()
    )
    return Figure(
        "learning-curves",
        svg,
        f"{comparison[error].attrs['long_name']} against the number of training samples: {told}.",
        "Error against the size of the training set, mean and standard deviation over seeds.",
    )


def calibration(comparison: xr.Dataset) -> Figure | None:
    """Share of true values inside central intervals against their level, for predictions."""
    if "coverage_by_level" not in comparison:
        return None
    generators, palette = ordered_generators(comparison), colours(comparison)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(5.2, 4.0))
        axis = canvas.subplots()
        axis.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        level = comparison["level"].values
        told = []
        for g in generators:
            inside = comparison["coverage_by_level"].sel(generator=g).mean("seed").values
            if np.isfinite(inside).all():
                axis.plot(level, inside, color=palette[g], linewidth=1.3, label=g)
                told.append(f"{g} {float(np.interp(0.9, level, inside)):.2f}")
        axis.set_xlabel("level of the central interval")
        axis.set_ylabel("share of true values inside")
        canvas.legend(loc="outside right center", fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = _svg(canvas)
    return Figure(
        "calibration",
        svg,
        f"Share of true values inside the central intervals of the predictions against their level. Inside the 90% "
        f"interval: {', '.join(told)}.",
        "Calibration of the predictive marginals, mean over seeds; on the dotted line, intervals hold what they say. "
        "Under it predictions are too sure, over it not sure enough.",
    )


def _dots(
    values: dict[str, np.ndarray], palette: dict[str, str], labels: list[str], across: str, up: str
) -> str:
    """A dot a generator above each label, on a logarithmic axis."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(7.0, 3.4))
        axis = canvas.subplots()
        for g, heights in values.items():
            axis.plot(labels, heights, "o", color=palette[g], markersize=4, label=g)
        axis.set_yscale("log")
        axis.set_xlabel(across)
        axis.set_ylabel(up)
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        return _svg(canvas)


def _finite(values: xr.DataArray) -> np.ndarray:
    flat = values.values.ravel()
    return flat[np.isfinite(flat)]


def _smoothed(loss: np.ndarray) -> np.ndarray:
    width = max(1, int(np.isfinite(loss).sum()) // 40)
    padded = np.pad(loss, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _last(loss: np.ndarray) -> float:
    finite = loss[np.isfinite(loss)]
    return float(finite[-max(1, len(finite) // 10) :].mean())


def _svg(canvas: Canvas) -> str:
    """The canvas as an SVG element without size, in the page's ink; the ids are made the figure's own."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", text, count=1
    )


def unique_ids(figures: Sequence[Figure], prefix: str) -> list[Figure]:
    """The figures with every id prefixed, so that many can stand in one page."""
    renamed = []
    for figure in figures:
        own = f"{prefix}-{figure.name}-"
        svg = re.sub(r'\bid="', f'id="{own}', figure.svg)
        svg = re.sub(r'(xlink:href="#|href="#|url\(#)', rf"\1{own}", svg)
        renamed.append(Figure(figure.name, svg, figure.alt, figure.caption))
    return renamed
