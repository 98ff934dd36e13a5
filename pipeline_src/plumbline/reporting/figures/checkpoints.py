"""Distances to a constraint and to the data, against the total training time that a method depends on."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import (
    FEW_DECADES,
    INK,
    STYLE,
    Figure,
    colours,
    logarithmic,
    over_seeds,
    svg_of,
)
from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL


def against_training_time(comparison: xr.Dataset, constraint: str) -> Figure | None:
    """Distance to a constraint and sliced Wasserstein distance at checkpoints; None if not measured."""
    shown = {
        name: comparison[f"checkpoint_{name}"]
        for name in (f"distance_{constraint}", "sliced_wasserstein")
        if f"checkpoint_{name}" in comparison
    }
    if not shown:
        return None
    of = comparison["checkpoint_method"].values
    methods = [g for g in ordered_methods(comparison) if g in of]
    palette, descriptions = colours(comparison), []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(7.6, 3.4))
        axes = canvas.subplots(1, len(shown), squeeze=False)[0]
        for axis, (name, values) in zip(axes, shown.items(), strict=True):
            for g in methods:
                seconds = comparison["checkpoint_seconds"].sel(judged=of == g).mean("seed").values
                mean, spread = over_seeds(values.sel(judged=of == g))
                axis.errorbar(
                    seconds, mean, spread,
                    color=palette[g], marker="o", markersize=3, linewidth=1.2, capsize=2, label=g,
                )  # fmt: skip
                descriptions.append(f"{g} {values.attrs['long_name']} {_course(seconds, mean)}")
            floor = float(comparison[name].sel(methods=REAL).mean())
            # A floor far below all methods would compress their curves into a line.
            if floor > float(values.min()) / FEW_DECADES:
                axis.axhline(floor, color=INK, linestyle=":", linewidth=1)
            axis.set_xlabel("training time, including models it depends on (s)")
            axis.set_title(f"{values.attrs['long_name']} ({values.attrs['units']})", fontsize=9)
            logarithmic(axis)
        canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        f"training-time-{constraint}",
        svg,
        f"Distances at checkpoints against training time. {'; '.join(descriptions)}.",
        f"Distance to {constraint} and to the data at checkpoints of the training, against the wall time of "
        "the training so far and of all trainings that it depends on, excluding validations and file "
        "access; mean and standard deviation over seeds. The dotted line is real data, if it is close; "
        "distances of zero are not drawn.",
    )


def _course(seconds: np.ndarray, values: np.ndarray) -> str:
    return f"from {values[0]:.3g} at {seconds[0]:.0f} s to {values[-1]:.3g} at {seconds[-1]:.0f} s"
