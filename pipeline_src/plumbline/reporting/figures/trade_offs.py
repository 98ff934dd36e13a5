"""What is paid as bounds are drawn tighter."""

from __future__ import annotations

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import INK, PALETTE, STYLE, Figure, over_seeds, sentence, svg_of
from plumbline.study import REAL

# Metrics that are drawn against bounds, where a study has them, the most telling first.
PRICES = (
    "class_distance",
    "largest_shortfall",
    "frechet",
    "frechet_to_original",
    "sliced_wasserstein",
    "recall",
)
MOST_PANELS = 3


def trade_offs(comparison: xr.Dataset, bounds: dict[str, tuple[str, float]]) -> Figure | None:
    """Metrics against the mean bound of generators that differ in their bounds alone; nothing if there are none.

    Args:
        comparison: a study's comparison.
        bounds: method and mean bound of each generator whose model has bounds.
    """
    methods: dict[str, list[tuple[float, str]]] = {}
    for generator, (method, bound) in bounds.items():
        methods.setdefault(method, []).append((bound, generator))
    curves = {method: sorted(points) for method, points in methods.items() if len(points) > 1}
    prices = [name for name in PRICES if name in comparison][:MOST_PANELS]
    if not curves or not prices:
        return None
    told = []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 2.8))
        for axis, price in zip(canvas.subplots(1, len(prices), squeeze=False)[0], prices, strict=True):
            title = comparison[price].attrs["long_name"]
            for i, (method, points) in enumerate(curves.items()):
                mean, spread = over_seeds(comparison[price].sel(generator=[g for _, g in points]))
                axis.errorbar(
                    [bound for bound, _ in points], mean, spread,
                    color=PALETTE[i % len(PALETTE)], marker="o", markersize=4, linewidth=1.2, capsize=2, label=method,
                )  # fmt: skip
                course = ", ".join(f"{m:.3g} at {b:.3g}" for m, (b, _) in zip(mean, points, strict=True))
                told.append(f"{method} {title} {course}")
            axis.axhline(
                float(comparison[price].sel(generator=REAL).mean()), color=INK, linestyle=":", linewidth=1
            )
            axis.set_xlabel("bound, mean over constraints")
            axis.set_title(sentence(title), fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "trade-offs",
        svg,
        f"Metrics against the bounds of constraints. {'; '.join(told)}.",
        "What the samples are like as the bounds vary, for models that differ in their bounds alone; mean and standard deviation "
        "over seeds. The dotted line is real data.",
    )
