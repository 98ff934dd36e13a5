"""Statistics of samples compared with those of the data."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import STYLE, Figure, colours, dots, logarithmic, svg_of
from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL

# Spectra are drawn where the spectrum of the data is above this fraction of its largest value.
SMALLEST_ENERGY = 1e-9


def spectra(comparison: xr.Dataset) -> Figure | None:
    """Energy spectra of methods and data, and their ratios to the test split's; None if not measured."""
    if "spectrum" not in comparison:
        return None
    methods, palette = ordered_methods(comparison), colours(comparison)
    k = comparison["wavenumber"].values
    test = comparison["spectrum_test"].mean(["methods", "seed"]).values
    held = test > SMALLEST_ENERGY * test.max()
    descriptions = []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8.4, 3.0 + 0.2 * (len(methods) // 5)))
        left, right = canvas.subplots(1, 2)
        for g in methods:
            energy = comparison["spectrum"].sel(methods=g).mean("seed").values
            ratio = energy[held] / test[held]
            line = _line(g, palette)
            left.plot(k[held], energy[held], label=g, **line)
            right.plot(k[held], ratio, **line)
            descriptions.append(f"{g} {ratio.min():.2g} to {ratio.max():.2g}")
        left.set_ylabel("energy")
        right.set_title("relative to the test split", fontsize=8)
        for axis in (left, right):
            logarithmic(axis)
            axis.set_xlabel("wavenumber (waves in the domain)")
        canvas.legend(loc="outside upper center", ncols=5, fontsize=8)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    return Figure(
        "spectra",
        svg,
        "Energy spectra against wavenumber on logarithmic axes, and their ratio to that of the test split: "
        f"{'; '.join(descriptions)}.",
        "Left: energy spectrum, mean over seeds. Right: its ratio to the spectrum of the test split, where "
        "the test split has energy.",
    )


def _line(method: str, palette: dict[str, str]) -> dict[str, Any]:
    """The line style of a method: dashed if an earlier method has the same colour."""
    colour = palette[method]
    first = next(g for g, c in palette.items() if c == colour)
    return {
        "color": colour,
        "linewidth": 2 if method == REAL else 1.2,
        "linestyle": "-" if first == method else "--",
    }


def marginals(comparison: xr.Dataset) -> Figure | None:
    """Wasserstein distance of each coordinate, for tables; None if not measured."""
    if "marginal_wasserstein_by" not in comparison:
        return None
    each = comparison["marginal_wasserstein_by"].mean("seed")
    dim = next(str(d) for d in each.dims if d != "methods")
    methods, palette = ordered_methods(comparison), colours(comparison)
    labels = [str(v) for v in each[dim].values]
    values = {g: each.sel(methods=g).values for g in methods}
    svg = dots(values, palette, labels, "", "Wasserstein distance (std)")
    worst = ", ".join(f"{g} {labels[int(each_of_g.argmax())]}" for g, each_of_g in values.items())
    return Figure(
        "marginals",
        svg,
        f"Wasserstein distance of each {dim}, by method. Largest at: {worst}.",
        f"Wasserstein distance of each {dim} to the test split, mean over seeds.",
    )
