"""Energy spectra: the compared range, and the styles that distinguish lines."""

import numpy as np
import xarray as xr

from plumbline.reporting.figures.canvas import PALETTE
from plumbline.reporting.figures.statistics import spectra


def test_spectra_are_compared_where_the_data_has_energy():
    """Samples have half the energy of the data, except in the last wavenumber, where the data has none.

    There are more methods than colours.
    """
    test = np.array([1.0, 0.1, 1e-12])
    names = ["real", *(f"g{i}" for i in range(len(PALETTE) + 2))]
    each = np.broadcast_to(test / 2 + [0, 0, 1.0], (len(names), 2, 3)).copy()
    each[0] = test
    dims = ("methods", "seed", "wavenumber")
    comparison = xr.Dataset(
        {"spectrum": (dims, each), "spectrum_test": (dims, np.broadcast_to(test, each.shape))},
        coords={"methods": names, "seed": [0, 1], "wavenumber": [1, 2, 3]},
    )
    figure = spectra(comparison)
    assert "real 1 to 1; g0 0.5 to 0.5;" in figure.alt
    dashed = [line for line in figure.svg.split("<path") if "stroke-dasharray" in line]
    # Two lines and a legend entry for each of the two methods beyond the palette.
    assert len(dashed) == 6
    assert sum(PALETTE[0] in line for line in dashed) == 3
    assert spectra(comparison.drop_vars("spectrum")) is None
