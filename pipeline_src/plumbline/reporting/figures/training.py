"""How losses and errors fall, with steps and with the number of samples."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import (
    PALETTE,
    STYLE,
    Figure,
    model_colours,
    over_seeds,
    sentence,
    smoothed,
    svg_of,
)

# Losses of either sign are drawn on a linear axis up to this one.
LARGEST_ON_A_LINE = 100.0


def training_curves(comparison: xr.Dataset) -> Figure | None:
    """Training loss against steps, a line a model and seed; nothing if no model was trained by steps."""
    if not comparison.sizes.get("row"):
        return None
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 2.8))
        axis = canvas.subplots()
        names, lowest, largest = [], np.inf, -np.inf
        for model, colour in model_colours(comparison).items():
            for j, seed in enumerate(comparison["seed"].values):
                run = comparison.sel(model=model, seed=seed)
                steps, loss = run["training_step"].values, run["training_loss"].values
                if np.isfinite(loss).any():
                    axis.plot(
                        steps,
                        smoothed(loss),
                        color=colour,
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
        svg = svg_of(canvas)
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
        for model, colour in model_colours(comparison).items():
            curve = curves.sel(model=model).values
            judged = np.isfinite(curve)
            if judged.any():
                axis.loglog(
                    steps.sel(model=model).values[judged],
                    curve[judged],
                    color=colour,
                    linewidth=1.2,
                    label=model,
                )
                ends.append(f"{model} {curve[judged][-1]:.3g}")
        axis.set_xlabel("optimiser steps")
        axis.set_ylabel(quantities[told[0]])
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "validation",
        svg,
        f"{sentence(quantities[told[0]])} against optimiser steps. At the end: {'; '.join(ends)}.",
        f"{sentence(quantities[told[0]])}, by the weights that samples would be drawn from at that step, mean "
        "over seeds.",
    )


def learning_curves(comparison: xr.Dataset, sizes: dict[str, tuple[str, int]], error: str) -> Figure | None:
    """An error against the number of training samples, a line a family.

    Args:
        comparison: a study's comparison.
        sizes: family and number of training samples of each method.
        error: the metric.
    """
    families: dict[str, list[tuple[int, str]]] = {}
    for g, (family, count) in sizes.items():
        families.setdefault(family, []).append((count, g))
    curves = {family: sorted(points) for family, points in families.items() if len(points) > 1}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 3.4))
        axis = canvas.subplots()
        for i, (family, points) in enumerate(curves.items()):
            mean, spread = over_seeds(comparison[error].sel(methods=[g for _, g in points]))
            counts = [count for count, _ in points]
            axis.errorbar(
                counts, mean, spread,
                color=PALETTE[i % len(PALETTE)], marker="o", markersize=4, linewidth=1.2, capsize=2, label=family,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("training samples")
        axis.set_ylabel(f"{comparison[error].attrs['long_name']} ({comparison[error].attrs['units']})")
        axis.legend(ncols=2, fontsize=8)
        svg = svg_of(canvas)
    told = "; ".join(
        f"{family} {', '.join(f'{float(comparison[error].sel(methods=g).mean()):.3g} at {n}' for n, g in points)}"
        for family, points in curves.items()
    )
    return Figure(
        "learning-curves",
        svg,
        f"{sentence(comparison[error].attrs['long_name'])} against the number of training samples: {told}.",
        "Error against the size of the training set, mean and standard deviation over seeds.",
    )


def _last(loss: np.ndarray) -> float:
    finite = loss[np.isfinite(loss)]
    return float(finite[-max(1, len(finite) // 10) :].mean())
