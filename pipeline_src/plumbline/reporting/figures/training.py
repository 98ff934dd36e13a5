"""Losses and errors against training steps and against the number of training samples."""

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

# Losses of either sign are drawn on a linear axis if none exceeds this value.
LARGEST_ON_A_LINE = 100.0


def training_curves(comparison: xr.Dataset) -> Figure | None:
    """Training loss against steps, a line per model and seed; None if no model was trained by steps."""
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
        # Losses that are likelihoods can have either sign, and some start at thousands.
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
        "Training loss, as a moving mean over a fortieth of the training; one line per seed. Losses of "
        "different objectives have different units.",
    )


def validation_curves(comparison: xr.Dataset) -> Figure | None:
    """Error on the validation split against steps, a line per model; None if no model was validated."""
    quantities = {
        "validation_absolute_error": "mean absolute error on the validation split, scaled",
        "validation_loss": "loss on the validation split",
    }
    quantity = next((name for name in quantities if f"training_{name}" in comparison), None)
    if quantity is None:
        return None
    curves = comparison[f"training_{quantity}"].mean("seed")
    steps = comparison["training_step"].isel(seed=0)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.8, 3.4))
        axis = canvas.subplots()
        ends = []
        for model, colour in model_colours(comparison).items():
            curve = curves.sel(model=model).values
            validated = np.isfinite(curve)
            if validated.any():
                axis.loglog(
                    steps.sel(model=model).values[validated],
                    curve[validated],
                    color=colour,
                    linewidth=1.2,
                    label=model,
                )
                ends.append(f"{model} {curve[validated][-1]:.3g}")
        axis.set_xlabel("optimiser steps")
        axis.set_ylabel(quantities[quantity])
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "validation",
        svg,
        f"{sentence(quantities[quantity])} against optimiser steps. At the end: {'; '.join(ends)}.",
        f"{sentence(quantities[quantity])}, with the weights that would be used for sampling at that step; "
        "mean over seeds.",
    )


def learning_curves(comparison: xr.Dataset, sizes: dict[str, tuple[str, int]], error: str) -> Figure | None:
    """An error against the number of training samples, a line per family; None if there are no families.

    Args:
        comparison: a study's comparison.
        sizes: the family and the number of training samples of each method.
        error: the name of the metric.
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
                color=PALETTE[i % len(PALETTE)], marker="o", markersize=4, linewidth=1.2, capsize=2,
                label=family,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("training samples")
        axis.set_ylabel(f"{comparison[error].attrs['long_name']} ({comparison[error].attrs['units']})")
        axis.legend(ncols=2, fontsize=8)
        svg = svg_of(canvas)
    means = comparison[error].mean("seed")
    descriptions = "; ".join(
        f"{family} {', '.join(f'{float(means.sel(methods=g)):.3g} at {n}' for n, g in points)}"
        for family, points in curves.items()
    )
    return Figure(
        "learning-curves",
        svg,
        f"{sentence(comparison[error].attrs['long_name'])} against the number of training samples: "
        f"{descriptions}.",
        "Error against the size of the training set, mean and standard deviation over seeds.",
    )


def _last(loss: np.ndarray) -> float:
    finite = loss[np.isfinite(loss)]
    return float(finite[-max(1, len(finite) // 10) :].mean())
