"""Dual training: multipliers and constrained quantities (divergences, cross-entropies or rewards)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import PALETTE, STYLE, Figure, smoothed, svg_of

# Names of the constrained quantities, by the prefix of their columns in the training log.
QUANTITIES = {
    "divergence": "divergence (nats)",
    "cross_entropy": "cross-entropy (nats)",
    "reward": "reward (standard deviations)",
}


def multiplier_courses(
    comparison: xr.Dataset, bounds: dict[str, dict[str, tuple[str, float | None]]]
) -> Figure | None:
    """Multipliers and constrained quantities against steps: panels per model, lines per constraint and seed.

    Args:
        comparison: a study's comparison.
        bounds: the constrained column of the training log and its bound, by model and constraint; other
            models are not drawn.

    Returns:
        The figure; None if no model has more than one row in its training log.
    """
    bounds = {model: own for model, own in bounds.items() if _steps(comparison, model) > 1}
    if not bounds:
        return None
    descriptions = []
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
                    descriptions.append(f"{model} {drawn.replace('_', ' ')} {_last_quarter(values):.3g}")
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
        "Multipliers and constrained quantities against optimiser steps. Mean of the last quarter: "
        f"{'; '.join(descriptions)}.",
        "Multipliers of the constraints and the constrained quantities, as moving means over a fortieth of "
        "the training; one line per constraint and seed. The dotted lines are the bounds.",
    )


def _quantity(column: str) -> str:
    """The name of the constrained quantity in a column of the training log."""
    return next(name for prefix, name in QUANTITIES.items() if column.startswith(prefix))


def _steps(comparison: xr.Dataset, model: str) -> int:
    """Number of rows in the training log of a model."""
    return int(np.isfinite(comparison["training_step"].sel(model=model).values).any(0).sum())


def _last_quarter(values: np.ndarray) -> float:
    """Mean over seeds and the last quarter of the rows of a training log."""
    rows = int(np.isfinite(values).any(0).sum())
    return float(np.nanmean(values[:, rows - max(1, rows // 4) : rows]))
