"""Axes without overlapping labels; colours that distinguish methods and models."""

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from plumbline.reporting.figures.canvas import PALETTE, colours, logarithmic, model_colours, panels


@pytest.mark.parametrize("methods", [2, 9, 20])
def test_no_two_models_have_one_colour_while_there_are_enough(methods):
    """The first model has the name of a method and takes its colour."""
    models = ["g0", *(f"m{i}" for i in range(len(PALETTE) - 1))]
    comparison = xr.Dataset(
        {"distance_a": (("methods", "seed"), np.arange(methods + 1.0)[::-1, None])},
        coords={"methods": ["real", *(f"g{i}" for i in range(methods))], "model": models},
    )
    found = model_colours(comparison)
    assert found["g0"] == colours(comparison)["g0"]
    assert len(set(found.values())) == len(PALETTE)
    if methods == 9:
        assert not {found[f"m{i}"] for i in range(len(PALETTE) - 9)} & set(colours(comparison).values())


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([8e-4, 4.4e-3], {"0.001", "0.002"}),
        ([1.25e-3, 3.8e-3], {"0.0015", "0.002", "0.003"}),
        ([0.098, 0.126], {"0.1", "0.11", "0.12"}),
        ([1e-7, 1.0], {"$\\mathdefault{10^{-6}}$", "$\\mathdefault{10^{0}}$"}),
    ],
)
def test_logarithmic_axes_label_powers_of_ten_or_a_few_numbers(values, labels):
    canvas = Figure(figsize=(3, 3))
    axis = canvas.subplots()
    axis.plot(values, values, "o")
    logarithmic(axis)
    canvas.draw_without_rendering()
    low, high = axis.xaxis.get_view_interval()
    shown = [
        text.get_text()
        for text, place in zip(axis.xaxis.get_ticklabels(), axis.xaxis.get_ticklocs(), strict=True)
        if low <= place <= high
    ]
    assert labels <= set(shown)
    assert len(shown) <= 9
    places = sorted(float(text) for text in shown if not text.startswith("$"))
    assert all(high > 1.05 * low for low, high in itertools.pairwise(places))
    assert not any(text.get_text() for text in axis.xaxis.get_ticklabels(minor=True))


@pytest.mark.parametrize(("count", "lowest"), [(2, [0, 1]), (6, [3, 4, 5]), (7, [4, 5, 6]), (8, [5, 6, 7])])
def test_the_lowest_panel_of_each_column_has_its_labels(count, lowest):
    canvas, axes = panels(count, 3, 1.75)
    axes[0].plot([0.0, 1.0], [0.0, 1.0])
    canvas.draw_without_rendering()
    labelled = [i for i in range(count) if any(label.get_visible() for label in axes[i].get_xticklabels())]
    assert labelled == lowest
