"""Style, colours and SVG output that all figures share.

Lines and text are drawn in the text colour of the page, so that figures suit light and dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plumbline.reporting.tables import ordered_methods
from plumbline.study import REAL

INK = "#010203"
"""Placeholder for the text colour of the page, replaced by `currentColor` in the SVG."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plumbline",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
}
# Colours that also differ in lightness and are legible on white and near-black.
PALETTE = (
    "#0a84c6", "#e07b00", "#1f9e6e", "#c2528b", "#8a63d2", "#b3922e", "#d1495b", "#3aa6a6", "#7a8793",
    "#6a994e", "#5b5fc7", "#a0522d", "#e377a8", "#14746f",
)  # fmt: skip

POINTS_PER_INCH = 72
"""The unit of matplotlib's SVG files is a point."""

MARGIN = 0.1
"""Inches around what is drawn."""

LETTERS_IN_A_ROW = 60
"""Largest total number of letters of horizontal labels along an axis."""

# If the end of an axis over its beginning is below this ratio, values between powers of ten are labelled too.
FEW_DECADES = 30


@dataclass(frozen=True)
class Figure:
    """An SVG figure.

    Attributes:
        name: the name of the figure, unique within a study.
        svg: the SVG element.
        alt: the alternative text.
        caption: the caption.
    """

    name: str
    svg: str
    alt: str
    caption: str


def colours(comparison: xr.Dataset) -> dict[str, str]:
    """A colour for each method; real data has the text colour of the page."""
    others = [g for g in ordered_methods(comparison) if g != REAL]
    return {REAL: INK} | {g: PALETTE[i % len(PALETTE)] for i, g in enumerate(others)}


def model_colours(comparison: xr.Dataset) -> dict[str, str]:
    """A colour for each model.

    A model has the colour of the method of the same name. Other models have colours of their own as far as
    the palette suffices, preferably ones that no method has.
    """
    models, of_methods = [str(m) for m in comparison["model"].values], colours(comparison)
    named = {m: of_methods[m] for m in models if m in of_methods}
    others = [m for m in models if m not in named]
    taken = set(of_methods.values())
    free = sorted((c for c in PALETTE if c not in named.values()), key=lambda c: c in taken) or PALETTE
    return named | {m: free[i % len(free)] for i, m in enumerate(others)}


def sentence(text: str) -> str:
    """The text with its first letter in upper case and all others unchanged."""
    return text[:1].upper() + text[1:]


def panels(count: int, columns: int, height: float) -> tuple[Canvas, np.ndarray]:
    """A canvas with `count` panels on shared axes, labelled below each column; unused panels are hidden."""
    rows = -(-count // columns)
    canvas = Canvas(figsize=(8.4, height * rows + 0.4))
    axes = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes[max(count - columns, 0) : count]:
        axis.tick_params(axis="x", labelbottom=True)
    return canvas, axes


def svg_of(canvas: Canvas) -> str:
    """The canvas as an SVG element without a fixed size, in the text colour of the page.

    It shows what is drawn and a margin. `savefig` with a tight bounding box draws everything twice for that;
    here, the view box of a single drawing is moved instead.
    """
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    canvas.set_dpi(POINTS_PER_INCH)
    width, height = canvas.get_size_inches()
    renderer = RendererSVG(width * POINTS_PER_INCH, height * POINTS_PER_INCH, io.StringIO())
    shown = canvas.get_tightbbox(renderer).padded(MARGIN)
    box = np.array([shown.x0, height - shown.y1, shown.width, shown.height]) * POINTS_PER_INCH
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    start, rest = text.split(">", 1)
    start = re.sub(r' (?:width|height|viewBox)="[^"]*"', "", start)
    return f'{start} viewBox="{" ".join(f"{number:.6f}" for number in box)}">{rest}'


def dots(
    values: dict[str, np.ndarray], palette: dict[str, str], labels: list[str], across: str, up: str
) -> str:
    """Draws a dot per method and label, on a logarithmic axis, and returns the SVG.

    Args:
        values: the values (labels,) of each method.
        palette: the colour of each method.
        labels: the labels of the horizontal axis.
        across: the title of the horizontal axis.
        up: the title of the vertical axis.
    """
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(7.0, 3.4))
        axis = canvas.subplots()
        for g, heights in values.items():
            axis.plot(labels, heights, "o", color=palette[g], markersize=4, label=g)
        axis.set_yscale("log")
        if sum(map(len, labels)) > LETTERS_IN_A_ROW:
            axis.tick_params(axis="x", rotation=90)
        axis.set_xlabel(across)
        axis.set_ylabel(up)
        canvas.legend(loc="outside upper center", ncols=4, fontsize=8)
        canvas.set_layout_engine("constrained")
        return svg_of(canvas)


def finite(values: xr.DataArray) -> np.ndarray:
    """The finite values, flattened."""
    flat = values.values.ravel()
    return flat[np.isfinite(flat)]


def over_seeds(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over seeds; the standard deviation is zero for a single seed."""
    std = values.std("seed", ddof=min(1, values.sizes["seed"] - 1))
    return values.mean("seed").values, std.values


def smoothed(course: np.ndarray) -> np.ndarray:
    """A moving mean over a fortieth of the finite values, padded at both ends with the end values."""
    width = max(1, int(np.isfinite(course).sum()) // 40)
    padded = np.pad(course, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def unique_ids(figures: Sequence[Figure], prefix: str) -> list[Figure]:
    """Prefixes every id of the figures, so that a page can contain several of them."""
    renamed = []
    for figure in figures:
        own = f"{prefix}-{figure.name}-"
        svg = re.sub(r'\bid="', f'id="{own}', figure.svg)
        svg = re.sub(r'(xlink:href="#|href="#|url\(#)', rf"\1{own}", svg)
        renamed.append(Figure(figure.name, svg, figure.alt, figure.caption))
    return renamed


# Labelled multiples of powers of ten, by the least ratio of the end of an axis to its beginning.
BETWEEN = (
    (10, (1, 2, 5)),
    (3, (1, 1.5, 2, 3, 5, 7)),
    (0, (1, 1.1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
)


def logarithmic(axis: Axes) -> None:
    """Makes both axes logarithmic; on short axes, values between powers of ten are labelled too."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    for one in (axis.xaxis, axis.yaxis):
        low, high = one.get_view_interval()
        if high < FEW_DECADES * low:
            # The coarsest labels of which every such range contains at least two.
            between = next(multiples for width, multiples in BETWEEN if high > width * low)
            one.set_major_locator(LogLocator(subs=between))
            one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.set_minor_formatter(NullFormatter())
