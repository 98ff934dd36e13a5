"""Errors and calibration of predictions."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import INK, STYLE, Figure, colours, dots, panels, svg_of
from plumbline.reporting.tables import ordered_methods


def predictions(comparison: xr.Dataset) -> Figure | None:
    """Errors of predicted means against true values, a panel per method; None without predictions."""
    if "pairs" not in comparison:
        return None
    pairs = comparison["pairs"].isel(seed=0)
    methods = [g for g in ordered_methods(comparison) if np.isfinite(pairs.sel(methods=g)).all()]
    palette = colours(comparison)
    unit = pairs.attrs.get("units", "1")
    with mpl.rc_context(STYLE):
        canvas, axes = panels(len(methods), 4, 2.1)
        for axis, g in zip(axes, methods, strict=False):
            true, predicted = pairs.sel(methods=g).values.T
            axis.axhline(0.0, color=INK, linestyle=":", linewidth=1)
            axis.plot(true, predicted - true, ".", color=palette[g], markersize=2.5, alpha=0.7)
            axis.set_title(g, fontsize=8)
        canvas.supxlabel(f"true value ({unit})", fontsize=9)
        canvas.supylabel(f"predicted mean minus true value ({unit})", fontsize=9)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "predictions",
        svg,
        f"Errors of the predicted means against true values of the test split, for {', '.join(methods)}.",
        f"Errors of {pairs.sizes['point']} predicted means of the test split, first seed; all panels share "
        "one scale.",
    )


def group_errors(comparison: xr.Dataset) -> Figure | None:
    """Mean absolute error in the twelve largest groups; None without groups."""
    if "error_by_group" not in comparison:
        return None
    size = comparison["size_of_group"].max(("seed", "methods"))
    largest = size.sortby(size, ascending=False).isel(group=slice(0, 12))["group"]
    error = comparison["error_by_group"].sel(group=largest).mean("seed")
    labels = [str(name) for name in comparison["group_name"].sel(group=largest).values]
    palette = colours(comparison)
    methods = [g for g in ordered_methods(comparison) if np.isfinite(error.sel(methods=g)).any()]
    unit = error.attrs.get("units", "1")
    svg = dots(
        {g: error.sel(methods=g).values for g in methods},
        palette,
        labels,
        "group, from the largest to the smallest",
        f"mean absolute error ({unit})",
    )
    return Figure(
        "groups",
        svg,
        f"Mean absolute error in the twelve largest groups, {', '.join(labels)}, for {', '.join(methods)}.",
        "Mean absolute error of the predicted means in the twelve largest groups, mean over seeds.",
    )


def calibration(comparison: xr.Dataset) -> Figure | None:
    """Fraction of true values inside central intervals against their level; None if not measured."""
    if "coverage_by_level" not in comparison:
        return None
    methods, palette = ordered_methods(comparison), colours(comparison)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(5.2, 4.0))
        axis = canvas.subplots()
        axis.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        level = comparison["level"].values
        descriptions = []
        for g in methods:
            inside = comparison["coverage_by_level"].sel(methods=g).mean("seed").values
            if np.isfinite(inside).all():
                axis.plot(level, inside, color=palette[g], linewidth=1.3, label=g)
                descriptions.append(f"{g} {float(np.interp(0.9, level, inside)):.2f}")
        axis.set_xlabel("level of the central interval")
        axis.set_ylabel("fraction of true values inside")
        canvas.legend(loc="outside right center", fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "calibration",
        svg,
        "Fraction of true values inside the central intervals of the predictions against their level. "
        f"Inside the 90% interval: {', '.join(descriptions)}.",
        "Calibration of the predictive marginals, mean over seeds. The dotted line is perfect calibration; "
        "below it predictions are overconfident, above it underconfident.",
    )
