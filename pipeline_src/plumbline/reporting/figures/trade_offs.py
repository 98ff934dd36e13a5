"""Metrics against a trade-off parameter of methods, such as the bound of a constraint or a weight."""

from __future__ import annotations

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import INK, PALETTE, STYLE, Figure, over_seeds, sentence, svg_of
from plumbline.study import REAL

# Metrics to draw if a study has them, in decreasing order of importance.
PRICES = (
    "class_distance",
    "largest_violation",
    "label_accuracy",
    "has_all",
    "recall_over_real",
    "frechet",
    "frechet_to_original",
    "sliced_wasserstein",
    "recall",
)
MOST_PANELS = 3


def trade_offs(comparison: xr.Dataset, dials: dict[str, tuple[str, float]], dial: str) -> Figure | None:
    """Metrics against a parameter, for families of methods that differ in it alone; None if there are none.

    Args:
        comparison: a study's comparison.
        dials: the family and the parameter's value of each method that has the parameter.
        dial: the name of the parameter.
    """
    families: dict[str, list[tuple[float, str]]] = {}
    for method, (family, value) in dials.items():
        families.setdefault(family, []).append((value, method))
    curves = {family: sorted(points) for family, points in families.items() if len(points) > 1}
    prices = [name for name in PRICES if name in comparison][:MOST_PANELS]
    if not curves or not prices:
        return None
    descriptions = []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 2.8))
        for axis, price in zip(canvas.subplots(1, len(prices), squeeze=False)[0], prices, strict=True):
            title = comparison[price].attrs["long_name"]
            for i, (family, points) in enumerate(curves.items()):
                mean, spread = over_seeds(comparison[price].sel(methods=[g for _, g in points]))
                axis.errorbar(
                    [value for value, _ in points], mean, spread,
                    color=PALETTE[i % len(PALETTE)], marker="o", markersize=4, linewidth=1.2, capsize=2,
                    label=family,
                )  # fmt: skip
                course = ", ".join(f"{m:.3g} at {b:.3g}" for m, (b, _) in zip(mean, points, strict=True))
                descriptions.append(f"{family} {title} {course}")
            axis.axhline(
                float(comparison[price].sel(methods=REAL).mean()), color=INK, linestyle=":", linewidth=1
            )
            axis.set_xlabel(dial)
            axis.set_title(sentence(title), fontsize=8)
        if len(curves) > 1:
            handles, names = axis.get_legend_handles_labels()
            canvas.legend(handles, names, loc="outside upper center", ncols=6, fontsize=7)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        f"trade-offs-{dial.replace(' ', '-')}",
        svg,
        f"Metrics against the {dial}. {'; '.join(descriptions)}.",
        f"Metrics of the samples against the {dial}, for methods that differ in it alone; mean and standard "
        "deviation over seeds. The dotted line is real data.",
    )
