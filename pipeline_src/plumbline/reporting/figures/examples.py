"""Example samples next to real data."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from plumbline.reporting.figures.canvas import INK, STYLE, Figure, colours, panels, svg_of
from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL


def examples(comparison: xr.Dataset) -> Figure:
    """Samples of each method and of real data, on a common colour scale or common axes."""
    shown = comparison["examples"]
    shown = shown.sel(methods=ordered_methods(comparison))
    if shown.ndim > 3:
        return _field_examples(shown)
    return _points(comparison, shown) if shown.shape[-1] == 2 else _table_examples(comparison, shown)


def _field_examples(shown: xr.DataArray) -> Figure:
    """A row of images per method, of the first channel alone."""
    methods = [str(g) for g in shown["methods"].values]
    low, high = (float(q) for q in np.quantile(shown.sel(methods=REAL).values, [0.001, 0.999]))
    vertical, horizontal = shown.dims[-2:]
    # The rows of photographs are numbered from the top.
    down = shown[vertical].attrs.get("positive") == "down"
    origin, way = ("upper", "downwards") if down else ("lower", "upwards")
    with mpl.rc_context(STYLE):
        count = shown.sizes["example"]
        canvas = Canvas(figsize=(1.15 * count + 1.4, 1.18 * len(methods)))
        axes = canvas.subplots(len(methods), count, squeeze=False)
        for row, g in zip(axes, methods, strict=True):
            for axis, image in zip(row, shown.sel(methods=g).values, strict=True):
                flat = image.reshape(-1, *image.shape[-2:])[0]
                drawn = axis.imshow(flat, vmin=low, vmax=high, cmap="viridis", origin=origin, aspect="auto")
                axis.set_xticks([])
                axis.set_yticks([])
            row[0].set_ylabel(g, rotation=0, ha="right", va="center")
        bar = canvas.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
        bar.set_label(f"{shown.attrs.get('long_name', 'state')} ({shown.attrs.get('units', '1')})")
        svg = svg_of(canvas)
    draws = int(shown.attrs.get("draws", 1))
    real = "real data" if draws == 1 else f"real data, above the first of {draws} samples for each state"
    return Figure(
        "examples",
        svg,
        f"{count} samples of each of {', '.join(methods)}, as images with {vertical} {way} and {horizontal} "
        "to the right, on the colour scale of real data.",
        f"Samples, with {vertical} {way} and {horizontal} to the right, on one colour scale; the first row "
        f"is {real}.",
    )


def _points(comparison: xr.Dataset, shown: xr.DataArray) -> Figure:
    """A panel per method: its samples as points in the plane, in front of real samples."""
    palette = colours(comparison)
    methods = [str(g) for g in shown["methods"].values]
    across, up = (str(v) for v in shown[shown.dims[-1]].values)
    with mpl.rc_context(STYLE):
        canvas, axes = panels(len(methods), 4, 2.0)
        for axis, g in zip(axes, methods, strict=False):
            for which, colour, alpha in ((REAL, INK, 0.25), (g, palette[g], 0.7)):
                points = shown.sel(methods=which).values
                axis.plot(*points.T, ".", color=colour, alpha=alpha, markersize=3, markeredgewidth=0)
            axis.set_title(g, fontsize=9)
            axis.set_aspect("equal", adjustable="box")
        canvas.supxlabel(f"{shown.dims[-1]} {across}", fontsize=9)
        canvas.supylabel(f"{shown.dims[-1]} {up}", fontsize=9)
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    count = shown.sizes["example"]
    means = "; ".join(
        f"{g} around ({', '.join(f'{m:.3g}' for m in shown.sel(methods=g).mean('example').values)})"
        for g in methods
    )
    return Figure(
        "examples",
        svg,
        f"{count} samples of each method as points in the plane, in front of real samples: {means}.",
        f"{count} samples of each method (coloured) and the same number of real samples (grey).",
    )


def _table_examples(comparison: xr.Dataset, shown: xr.DataArray) -> Figure:
    """A panel per method: its samples as lines over the coordinates, in front of real samples."""
    palette = colours(comparison)
    methods = [str(g) for g in shown["methods"].values]
    dim = str(shown.dims[-1])
    labels = [str(v) for v in shown[dim].values]
    real = shown.sel(methods=REAL).values
    # A power of ten, since otherwise ticks inside and outside the linear part would overlap.
    smallest = 10.0 ** np.floor(np.log10(float(np.quantile(np.abs(real), 0.3)) or 1e-6))
    unit = shown.attrs.get("units", "1")
    with mpl.rc_context(STYLE):
        canvas, axes = panels(len(methods), 3, 1.75)
        for axis, g in zip(axes, methods, strict=False):
            axis.plot(labels, real.T, color=INK, alpha=0.3, linewidth=0.8)
            if g != REAL:
                axis.plot(labels, shown.sel(methods=g).values.T, color=palette[g], linewidth=1)
            axis.set_title(g, fontsize=9)
            axis.set_yscale("symlog", linthresh=smallest, linscale=1.5)
            axis.yaxis.get_major_locator().set_params(numticks=5)
            axis.tick_params(axis="x", rotation=90)
        axes[0].set_ylabel(f"{shown.attrs.get('long_name', 'state')} ({unit})")
        canvas.set_layout_engine("constrained")
        svg = svg_of(canvas)
    count = shown.sizes["example"]
    return Figure(
        "examples",
        svg,
        f"{count} samples of each of {', '.join(methods)}, as lines over {dim}, in front of real samples.",
        f"{count} samples of each method (coloured) and the same number of real samples (grey), for the same "
        f"conditions; the axis is linear within ± {smallest:.1g} {unit if unit != '1' else ''}".rstrip()
        + ".",
    )
