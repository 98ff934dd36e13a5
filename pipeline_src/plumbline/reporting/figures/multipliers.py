"""What dual training came to: the multipliers, and the divergences that they answer for."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import INK, PALETTE, STYLE, Figure, smoothed, svg_of

# Columns of the training log, and what they are called.
QUANTITIES = {"multiplier": "multiplier", "divergence": "divergence (nats)"}


def multiplier_courses(comparison: xr.Dataset, thresholds: dict[str, dict[str, float]]) -> Figure | None:
    """Multipliers and divergences against steps, a row of panels a model, a line a constraint and seed.

    Args:
        comparison: a study's comparison.
        thresholds: by model and constraint; models that are not named are not drawn.
    """
    if not thresholds:
        return None
    told = []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 1.9 * len(thresholds) + 0.5))
        rows = canvas.subplots(len(thresholds), len(QUANTITIES), sharex=True, sharey="col", squeeze=False)
        for axes, (model, sets) in zip(rows, thresholds.items(), strict=True):
            run = comparison.sel(model=model)
            for axis, (column, title) in zip(axes, QUANTITIES.items(), strict=True):
                for i, (name, threshold) in enumerate(sets.items()):
                    values = run[f"training_{column}_{name}"].values
                    for j, (steps, course) in enumerate(
                        zip(run["training_step"].values, values, strict=True)
                    ):
                        axis.plot(
                            steps, smoothed(course), color=PALETTE[i % len(PALETTE)], linewidth=1.1,
                            alpha=1 - 0.35 * min(j, 2), label=name if j == 0 else None,
                        )  # fmt: skip
                    if column == "divergence":
                        axis.axhline(threshold, color=INK, linestyle=":", linewidth=1)
                    told.append(f"{model} {name} {column} {_last_quarter(values):.3g}")
                axis.set_title(f"{model}: {title}", fontsize=9)
        for axis in rows[-1]:
            axis.set_xlabel("optimiser steps")
        canvas.legend(
            *rows[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=8
        )
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "multipliers",
        svg,
        f"Multipliers and divergences against optimiser steps. Mean of the last quarter: {'; '.join(told)}.",
        "Multipliers of the constraints on distributions and the divergences from them, a moving mean over a fortieth of the "
        "training; a line a constraint and seed. The dotted lines are the thresholds.",
    )


def _last_quarter(values: np.ndarray) -> float:
    """Mean over seeds and the last quarter of the rows that a training has."""
    rows = int(np.isfinite(values).any(0).sum())
    return float(np.nanmean(values[:, rows - max(1, rows // 4) : rows]))
