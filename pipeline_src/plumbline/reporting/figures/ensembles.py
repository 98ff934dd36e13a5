"""Rank histograms of posterior ensembles."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

from plumbline.reporting.figures.canvas import INK, STYLE, Figure, colours, panels, svg_of
from plumbline.reporting.tables import ordered_methods


def rank_histograms(comparison: xr.Dataset) -> Figure | None:
    """Ranks of true values among the samples of their ensemble, a panel per method; None if not measured."""
    if "rank_histogram" not in comparison:
        return None
    fraction = comparison["rank_histogram"].mean("seed")
    methods = [g for g in ordered_methods(comparison) if np.isfinite(fraction.sel(methods=g)).all()]
    palette = colours(comparison)
    with mpl.rc_context(STYLE):
        canvas, axes = panels(len(methods), 4, 1.9)
        for axis, g in zip(axes, methods, strict=False):
            values = fraction.sel(methods=g).values
            axis.bar(np.arange(len(values)), values, color=palette[g], width=0.9)
            axis.axhline(1 / len(values), color=INK, linestyle=":", linewidth=1)
            axis.set_title(g, fontsize=8)
        canvas.supxlabel("samples below the true value", fontsize=9)
        canvas.supylabel("fraction of true values", fontsize=9)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    lowest = ", ".join(f"{g} {float(fraction.sel(methods=g)[[0, -1]].sum()):.2f}" for g in methods)
    return Figure(
        "ranks",
        svg,
        f"Rank histograms of {', '.join(methods)}. Fraction of true values outside the ensemble: {lowest}.",
        "Rank of each true value among the samples of its ensemble, over all cases and seeds. The dotted "
        "line is a calibrated ensemble; higher bars at the ends mean that the ensemble is too narrow.",
    )
