"""Bias and error of gradient estimators."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import STYLE, Figure, colours, svg_of
from plumbline.reporting.tables import ordered_methods

# Smaller values are drawn at this one.
SMALLEST_BIAS = 1e-8


def gradients(comparison: xr.Dataset) -> Figure | None:
    """Bias, error and variance of gradient estimators against the dimension; None if not measured."""
    if "gradient_bias" not in comparison:
        return None
    palette = colours(comparison)
    # The exact gradient has no variance; it is left out, since it would stretch the axes.
    scatter = comparison["gradient_variance"]
    methods = [g for g in ordered_methods(comparison) if float(scatter.sel(methods=g).max()) > 0]
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
                for g in methods:
                    y = np.maximum(values.sel(methods=g).values, SMALLEST_BIAS)
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
        svg = svg_of(canvas)
    bias = (
        comparison["gradient_bias"]
        .sel(gradient_of="variance")
        .mean(("seed", "equalities", "loss", "dimension"))
    )
    biases = ", ".join(f"{g} {float(bias.sel(methods=g)):.2g}" for g in methods)
    return Figure(
        "gradients",
        svg,
        "Bias, error and variance of gradient estimators against dimension, for gradients with respect to "
        f"means and variances, for absolute and squared losses. Mean bias for the variances: {biases}.",
        "Gradient estimators against the dimension, mean over problems, numbers of equalities and seeds; "
        "values below 1e-8 are drawn at 1e-8.",
    )
