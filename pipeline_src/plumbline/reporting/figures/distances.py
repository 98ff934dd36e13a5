"""Distances of samples to a constraint, and cost against quality."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import (
    INK,
    STYLE,
    Figure,
    colours,
    finite,
    logarithmic,
    sentence,
    svg_of,
)
from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL

# Smaller fractions of the largest distance are drawn at this value, since zero has no logarithm.
SMALLEST_SHARE = 1e-9


def distance_histogram(comparison: xr.Dataset, constraint: str) -> Figure:
    """Histograms of the logarithm of distances to a constraint, relative to the largest of all methods."""
    each = comparison[f"distance_{constraint}_each"]
    largest = float(each.max())
    with mpl.rc_context(STYLE):
        methods, palette = ordered_methods(comparison), colours(comparison)
        rows = len(methods)
        canvas = Canvas(figsize=(6.4, 0.42 * rows + 0.8))
        axes = canvas.subplots(rows, 1, sharex=True, gridspec_kw={"hspace": 0.15})
        values = {
            g: np.log10(np.maximum(finite(each.sel(methods=g)) / largest, SMALLEST_SHARE)) for g in methods
        }
        low = min(v.min() for v in values.values() if len(v)) - 0.2
        bins = np.linspace(low, 0.05, 90)
        for axis, g in zip(np.atleast_1d(axes), methods, strict=True):
            axis.hist(values[g], bins=bins, histtype="stepfilled", color=palette[g], alpha=0.9)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            axis.set_ylabel(g, rotation=0, ha="right", va="center")
            axis.grid(axis="y", visible=False)
        axis.set_xlabel(f"log10 of distance to {constraint}, relative to the largest ({largest:.3g})")
        svg = svg_of(canvas)
    medians = ", ".join(f"{g} {10 ** float(np.median(v)):.2g}" for g, v in values.items() if len(v))
    return Figure(
        f"histogram-{constraint}",
        svg,
        f"Histograms of the distance to {constraint} of each method's samples. Medians, relative to the "
        f"largest distance: {medians}.",
        f"Distance to {constraint} of every sample of all seeds, relative to the largest distance; ratios "
        "below 1e-9 are drawn at 1e-9. Real data is the floor.",
    )


def cost_against_quality(comparison: xr.Dataset, quality: str, constraint: str) -> Figure:
    """Distance to the data against the cost per sample and the distance to the constraint."""
    methods, palette = ordered_methods(comparison), colours(comparison)
    title = comparison[quality].attrs["long_name"]
    panels = (
        ("cost_sampling_seconds_per_sample", "sampling time per sample (s)"),
        (f"distance_{constraint}", f"distance to {constraint}"),
    )
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(7.2, 3.6))
        axes = canvas.subplots(1, 2, sharey=True)
        for axis, (name, label) in zip(axes, panels, strict=True):
            smallest = SMALLEST_SHARE * float(comparison[name].max())
            for g in methods:
                one = comparison.sel(methods=g)
                x, y = one[name].values, one[quality].values
                if np.isfinite(x).all():
                    axis.plot(np.maximum(x, smallest), y, "o", color=palette[g], markersize=5, label=g)
            axis.set_xlabel(label)
            axis.axhline(
                float(comparison[quality].sel(methods=REAL).mean()), color=INK, linestyle=":", linewidth=1
            )
            logarithmic(axis)
        axes[0].set_ylabel(title)
        handles, labels = axes[1].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=4)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    means = ", ".join(f"{g} {float(comparison[quality].sel(methods=g).mean()):.3g}" for g in methods)
    return Figure(
        "cost",
        svg,
        f"{sentence(title)} against sampling time and against distance to {constraint}. "
        f"{sentence(title)}: {means}.",
        f"{sentence(title)} against sampling time and distance to the constraint, one point per seed; the "
        "dotted line is real data. Lower and further left is better.",
    )
