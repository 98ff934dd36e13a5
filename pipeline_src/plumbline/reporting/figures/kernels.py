"""Training errors predicted by tangent kernels, and test errors after training."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.metrics import half_width
from plumbline.reporting.figures.canvas import STYLE, Figure, colours, svg_of
from plumbline.reporting.tables import ordered_methods


def kernel_descent(comparison: xr.Dataset) -> Figure | None:
    """Predicted training errors during gradient descent, and test errors; None without tangent kernels."""
    if "kernel_descent" not in comparison:
        return None
    # Seeds of one system are not independent systems: average over them first.
    descent = comparison["kernel_descent"].mean("seed")
    errors = comparison["error_of_system"].mean("seed")
    shown = [g for g in ordered_methods(comparison) if bool(errors.sel(methods=g).notnull().any())]
    palette, descriptions = colours(comparison), []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 0.9 + max(2.6, 0.24 * len(shown))))
        left, right = canvas.subplots(1, 2)
        for i, g in enumerate(shown):
            courses = descent.sel(methods=g).dropna("system").transpose("system", "descent_step").values
            mean, width = courses.mean(0), np.array([half_width(column) for column in courses.T])
            left.plot(mean, color=palette[g], linewidth=1.2)
            left.fill_between(
                np.arange(len(mean)), mean - width, mean + width, color=palette[g], alpha=0.15, linewidth=0
            )
            found = errors.sel(methods=g).dropna("system").values
            right.errorbar(
                [found.mean()],
                [i],
                xerr=[half_width(found)],
                color=palette[g],
                marker="o",
                markersize=4,
                capsize=2,
            )
            descriptions.append(f"{g} {found.mean():.3f} ± {half_width(found):.3f}")
        left.set_xscale("symlog", linthresh=1)
        left.set_xlabel("steps of gradient descent")
        left.set_title("Training error predicted by the kernel", fontsize=8)
        right.set_yticks(range(len(shown)), shown, fontsize=7)
        right.invert_yaxis()
        right.set_xlabel("normalised test error")
        right.set_title("Test error after training, with 95% interval", fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "kernel-descent",
        svg,
        "Training errors predicted by tangent kernels, and normalised test errors. "
        f"{'; '.join(descriptions)}.",
        "Left: training error during gradient descent with the largest stable step, as predicted by the "
        "tangent kernel at initialisation. Right: error on the test split after training. Both errors are "
        "normalised; means and 95% intervals over systems.",
    )
