"""Statistics of samples beside those of the data."""

from __future__ import annotations

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import STYLE, Figure, colours, dots, svg_of
from plumbline.reporting.tables import ordered_generators
from plumbline.study import REAL

# Spectra are drawn down to this share of their largest value.
SMALLEST_ENERGY = 1e-11


def spectra(comparison: xr.Dataset) -> Figure | None:
    """Energy spectra of generators and data, for fields."""
    if "spectrum" not in comparison:
        return None
    generators, palette = ordered_generators(comparison), colours(comparison)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 3.0))
        axis = canvas.subplots()
        k = comparison["wavenumber"].values
        for g in generators:
            energy = comparison["spectrum"].sel(generator=g).mean("seed").values
            axis.loglog(k, energy, color=palette[g], linewidth=2 if g == REAL else 1.2, label=g)
        axis.set_ylim(bottom=SMALLEST_ENERGY * float(comparison["spectrum"].max()))
        axis.set_xlabel("wavenumber (waves in the domain)")
        axis.set_ylabel("energy")
        axis.legend(ncols=2, fontsize=8)
        svg = svg_of(canvas)
    return Figure(
        "spectra",
        svg,
        f"Energy spectra of {', '.join(generators)} against wavenumber, on logarithmic axes.",
        "Energy spectrum, mean over seeds.",
    )


def marginals(comparison: xr.Dataset) -> Figure | None:
    """Wasserstein distance of each coordinate, for tables."""
    if "marginal_wasserstein_by" not in comparison:
        return None
    each = comparison["marginal_wasserstein_by"].mean("seed")
    dim = next(str(d) for d in each.dims if d != "generator")
    generators, palette = ordered_generators(comparison), colours(comparison)
    labels = [str(v) for v in each[dim].values]
    values = {g: each.sel(generator=g).values for g in generators}
    svg = dots(values, palette, labels, "", "Wasserstein distance (std)")
    worst = ", ".join(f"{g} {labels[int(each_of_g.argmax())]}" for g, each_of_g in values.items())
    return Figure(
        "marginals",
        svg,
        f"Wasserstein distance of each {dim}, by generator. Largest at: {worst}.",
        f"Wasserstein distance of each {dim} to the test split, mean over seeds.",
    )
