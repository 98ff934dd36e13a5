r"""Error of the energy spectrum of fields.

For one periodic direction, E(k) is the squared modulus of the k-th Fourier mode, averaged over samples and
all other dimensions. For a periodic plane, squared moduli are summed over the ring of modes whose rounded
wavenumber is k and over all other dimensions, and averaged over samples. The error is the mean of |log10 E(k)
- log10 E_test(k)| over the wavenumbers that hold more than a billionth of the energy of the test split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.coordinates import periodic_dimensions
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._splits import values_of

if TYPE_CHECKING:
    import xarray as xr

# Smallest fraction of the test split's energy for which a wavenumber counts.
SMALLEST_FRACTION = 1e-9


class EnergySpectrumSpec(MetricSpec):
    """Mean absolute error of the logarithm of the energy spectrum, against the test split."""

    kind: Literal["energy_spectrum"] = "energy_spectrum"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        periodic = periodic_dimensions(dataset, f"`{self.kind}`")
        test = values_of(dataset, "test")[: samples.sizes["sample"]]
        reference, spectrum = (
            energy_spectrum(values, len(periodic)) for values in (test, samples["state"].values)
        )
        held = reference > SMALLEST_FRACTION * reference.sum()
        error = np.abs(np.log10(np.maximum(spectrum, 1e-300)) - np.log10(np.maximum(reference, 1e-300)))[held]
        wavenumber = ("wavenumber", np.arange(1, len(reference) + 1), {"units": "waves in the domain"})
        return xr.Dataset(
            {
                "energy_spectrum": scalar(error.mean(), "error of the energy spectrum", "lower", "decades"),
                "spectrum": ("wavenumber", spectrum, {"long_name": "energy"}),
                "spectrum_test": ("wavenumber", reference, {"long_name": "energy of the test split"}),
            },
            coords={"wavenumber": wavenumber},
        )


def energy_spectrum(field: np.ndarray, directions: int) -> np.ndarray:
    """The spectrum E(k) for k = 1, 2, ...

    Args:
        field: samples (B, ...) whose last `directions` axes are periodic.
        directions: one or two.
    """
    if directions == 1:
        modes = np.abs(np.fft.rfft(field, axis=-1)) ** 2 / field.shape[-1] ** 2
        return modes.reshape(-1, modes.shape[-1]).mean(0)[1:]
    nx, ny = field.shape[-2:]
    modes = np.abs(np.fft.fft2(field)) ** 2 / (nx * ny) ** 2
    modes = modes.reshape(-1, nx, ny).sum(0) / len(field)
    ring = np.rint(
        np.hypot(*np.meshgrid(np.fft.fftfreq(nx, 1 / nx), np.fft.fftfreq(ny, 1 / ny), indexing="ij"))
    )
    return np.bincount(ring.astype(int).ravel(), modes.ravel())[1 : min(nx, ny) // 2]
