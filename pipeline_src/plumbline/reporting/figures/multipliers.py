"""What dual training came to: the multipliers, and the divergences or rewards that they answer for."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import PALETTE, STYLE, Figure, smoothed, svg_of

# Beginnings of columns of the training log that multipliers answer for, and what they are called.
QUANTITIES = {
    "divergence": "divergence (nats)",
    "cross_entropy": "cross-entropy (nats)",
    "reward": "reward (deviations)",
}


def multiplier_courses(
    comparison: xr.Dataset, bounds: dict[str, dict[str, tuple[str, float | None]]]
) -> Figure | None:
    """Multipliers, and what they answer for, against steps: a row of panels a model, a line a constraint and seed.

    Args:
        comparison: a study's comparison.
        bounds: by model and constraint, the column of the training log that is bound, and its bound; models that are not
            named are not drawn.
    """
    bounds = {model: own for model, own in bounds.items() if _steps(comparison, model) > 1}
    if not bounds:
        return None
    told = []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 1.9 * len(bounds) + 0.5))
        rows = canvas.subplots(len(bounds), 2, sharex=True, sharey="col", squeeze=False)
        for (left, right), (model, of_model) in zip(rows, bounds.items(), strict=True):
            run = comparison.sel(model=model)
            for i, (name, (column, bound)) in enumerate(of_model.items()):
                for axis, drawn in ((left, f"multiplier_{name}"), (right, column)):
                    values = run[f"training_{drawn}"].values
                    for j, (steps, course) in enumerate(
                        zip(run["training_step"].values, values, strict=True)
                    ):
                        axis.plot(
                            steps, smoothed(course), color=PALETTE[i % len(PALETTE)], linewidth=1.1,
                            alpha=1 - 0.35 * min(j, 2), label=name if j == 0 else None,
                        )  # fmt: skip
                    told.append(f"{model} {drawn.replace('_', ' ')} {_last_quarter(values):.3g}")
                if bound is not None:
                    right.axhline(bound, color=PALETTE[i % len(PALETTE)], linestyle=":", linewidth=1)
            left.set_title(f"{model}: multiplier", fontsize=9)
            right.set_title(f"{model}: {_quantity(column)}", fontsize=9)
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
        f"Multipliers and what they answer for against optimiser steps. Mean of the last quarter: {'; '.join(told)}.",
        "Multipliers of the constraints, and what they answer for, a moving mean over a fortieth of the training; a line a "
        "constraint and seed. The dotted lines are the bounds.",
    )


def _quantity(column: str) -> str:
    """What a column of the training log holds."""
    return next(called for beginning, called in QUANTITIES.items() if column.startswith(beginning))


def _steps(comparison: xr.Dataset, model: str) -> int:
    """Rows of the training log of a model."""
    return int(np.isfinite(comparison["training_step"].sel(model=model).values).any(0).sum())


def _last_quarter(values: np.ndarray) -> float:
    """Mean over seeds and the last quarter of the rows that a training has."""
    rows = int(np.isfinite(values).any(0).sum())
    return float(np.nanmean(values[:, rows - max(1, rows // 4) : rows]))
