"""Fractions of the classes among samples."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import STYLE, Figure, colours, over_seeds, svg_of
from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL


def class_fractions(comparison: xr.Dataset) -> Figure | None:
    """The fraction of each class, as a group of bars per class and a bar per method; None if not measured."""
    if "class_fraction" not in comparison:
        return None
    fractions = comparison["class_fraction"]
    methods, palette, descriptions = ordered_methods(comparison), colours(comparison), []
    classes = np.arange(fractions.sizes["class"])
    width = 0.84 / len(methods)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 3.2))
        axis = canvas.subplots()
        for i, g in enumerate(methods):
            mean, spread = over_seeds(fractions.sel(methods=g))
            axis.bar(
                classes + (i + 0.5) * width - 0.42, mean, width, yerr=spread, color=palette[g], label=g,
                error_kw={"elinewidth": 0.8, "ecolor": palette[REAL]},
            )  # fmt: skip
            descriptions.append(f"{g} {', '.join(f'{value:.3f}' for value in mean)}")
        axis.axhline(1 / len(classes), color=palette[REAL], linestyle=":", linewidth=1)
        axis.set_xticks(classes, [str(c) for c in comparison["class"].values])
        axis.grid(visible=False, axis="x")
        axis.set_xlabel("class")
        axis.set_ylabel("fraction of the samples")
        canvas.legend(loc="outside upper center", ncols=6, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "class-shares",
        svg,
        f"Fraction of each class among the samples. {'; '.join(descriptions)}.",
        "Fraction of each class among the samples, as predicted by the classifier; mean and standard "
        "deviation over seeds. The same classifier predicts the classes of real data; the dotted line is "
        "the uniform fraction.",
    )
