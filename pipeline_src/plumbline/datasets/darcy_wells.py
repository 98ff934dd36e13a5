r"""Permeability and pressure of steady Darcy flow from one corner of a square to the opposite one.

In the unit square,

    -div( K grad p ) = f,    no flux through the boundary,    int p = 0,

where f is `rate` in a square of the width `well` in the corner at the origin, -`rate` in the opposite corner,
and zero elsewhere. The permeability is K = exp(G). G is a Gaussian random field with the mean zero, the
variance one and the covariance exp(-|x - x'| / l), whose Karhunen-Loeve expansion,

    G = sum_k sqrt(lambda_k) z_k phi_k,

is truncated after `terms` terms with the largest lambda_k. Those are the eigenvalues of the covariance matrix
of the cells, and z_k are independent standard normal numbers. A sample has two fields, K and p. Since K
determines p, the samples lie on a manifold of `terms` dimensions.

This is the problem of CoCoGen (Jacobsen et al. 2023, https://arxiv.org/abs/2312.10527), physics-informed
diffusion models (Bastek et al. 2025, https://arxiv.org/abs/2403.14404) and physics-based flow matching
(Baldan et al. 2025, https://arxiv.org/abs/2506.08604), with their defaults. They put 64 x 64 grid points up
to the boundary and solve an overdetermined system of finite differences by least squares, which leaves a
residual. Here, values are those of 64 x 64 cells, and the only residual of the finite volumes is that of the
pressure's rounding to single precision.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

WHOLE = 1e-9
"""Difference of the width of a well from whole cells that counts as rounding."""


class DarcyWellsSpec(DatasetSpec):
    """Permeability and pressure of Darcy flow from a source in a corner to a sink in the opposite one."""

    kind: Literal["darcy_wells"] = "darcy_wells"
    points: int = key("cells", ge=4, le=128, default=64)
    """Number of cells along each axis. The width of a well must be a whole number of cells."""
    terms: int = key(ge=1, default=64)
    """Number of terms of the Karhunen-Loeve expansion of the logarithm of the permeability."""
    correlation_length: float = key("length", gt=0, default=0.1)
    """l, the correlation length of the logarithm of the permeability; the square has the side one."""
    rate: float = key("1/time", gt=0, default=10.0)
    """Source of fluid per area in the first corner, and sink in the opposite one."""
    well: float = key("length", gt=0, le=0.5, default=0.125)
    """Width of the squares of the source and of the sink."""

    @model_validator(mode="after")
    def _fits_the_grid(self) -> DarcyWellsSpec:
        cells = self.well * self.points
        if abs(cells - round(cells)) > WHOLE * cells or round(cells) < 1:
            raise ValueError(
                f"`points` is {self.points}, so that a well of the width {self.well:g} has {cells:g} cells "
                f"along a side: choose `points` so that `well` times `points` is a whole number of cells"
            )
        if self.terms > self.points**2:
            raise ValueError(
                f"`terms` must be at most the number of cells, {self.points**2}, found {self.terms}"
            )
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        from plumbline.solvers import darcy

        # The pressure belongs to the permeability as it is stored, in single precision.
        permeability = self.permeabilities(indices).astype(np.float32)
        pressure = darcy.solve_without_flux(permeability, self.source_field()).astype(np.float32)
        position = (np.arange(self.points) + 0.5) / self.points
        along = {"units": "length", "long_name": "position"}
        return xr.Dataset(
            {
                "state": (
                    ("sample", "field", "x", "y"),
                    np.stack([permeability, pressure], axis=1),
                    {
                        "long_name": "permeability and pressure",
                        "units": "length^2/time/pressure and pressure",
                    },
                ),
                "source": (
                    ("x", "y"),
                    self.source_field(),
                    {"long_name": "source of fluid per area", "units": "1/time"},
                ),
            },
            coords={
                "field": ("field", ["permeability", "pressure"]),
                "units": ("field", ["length^2/time/pressure", "pressure"]),
                "x": ("x", position, along),
                "y": ("y", position, along),
            },
            attrs={"title": "Darcy flow between two wells"},
        )

    def sample_bytes(self) -> int:
        return 2 * 4 * self.points**2

    def source_field(self) -> np.ndarray:
        """f, the source in each cell, float64 (points, points)."""
        cells = round(self.well * self.points)
        field = np.zeros((self.points, self.points))
        field[:cells, :cells] = self.rate
        field[-cells:, -cells:] = -self.rate
        return field

    def permeabilities(self, indices: np.ndarray) -> np.ndarray:
        """K of these samples, float64 (samples, points, points)."""
        from plumbline.datasets._random import normals

        modes = karhunen_loeve(self.points, self.correlation_length, self.terms)
        logarithm = normals(self.seed, indices, self.terms) @ modes.reshape(self.terms, -1)
        return np.exp(logarithm).reshape(-1, self.points, self.points)


@lru_cache(maxsize=2)
def karhunen_loeve(points: int, length: float, terms: int) -> np.ndarray:
    """The largest terms sqrt(lambda_k) phi_k of the covariance exp(-|x - x'| / length) of square cells.

    The covariance matrix does not change when the square is reflected, so its eigenvectors are even or odd
    along each axis, and those of each pair of parities are computed separately. This is faster, and separates
    eigenvectors with equal eigenvalues: exchanging the axes maps those that are even along x and odd along y
    to those that are odd along x and even along y. With a sign that is fixed, the terms are the same on each
    machine, up to rounding.

    Args:
        points: number of cells along each axis of the unit square.
        length: correlation length.
        terms: number of terms.

    Returns:
        The terms (terms, points, points), by decreasing eigenvalue.
    """
    found: list[tuple[float, np.ndarray]] = []
    for parities in ((1, 1), (1, -1), (-1, -1)):
        for value, vector in zip(*_of_parities(points, length, parities, terms), strict=True):
            found.append((value, vector))
            if parities == (1, -1):
                found.append((value, vector.T))
    found.sort(key=lambda pair: -pair[0])
    return np.stack([np.sqrt(max(value, 0.0)) * vector for value, vector in found[:terms]])


def _of_parities(
    points: int, length: float, parities: tuple[int, int], terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (m,) and their eigenvectors (m, points, points) of given parities."""
    import scipy.linalg

    cells = np.arange(points)
    correlation = np.exp(-np.hypot(cells[:, None], cells[None]) / points / length)
    along_x, along_y = (_basis(points, parity) for parity in parities)
    halves = [np.arange(len(basis)) for basis in (along_x, along_y)]
    # The covariance of two cells, plus or minus that of one with the reflections of the other.
    direct = [np.abs(half[:, None] - half) for half in halves]
    reflected = [points - 1 - half[:, None] - half for half in halves]
    shape = (len(along_x), len(along_y))
    block = np.zeros(2 * shape)
    for sign_x, apart_x in ((1, direct[0]), (parities[0], reflected[0])):
        for sign_y, apart_y in ((1, direct[1]), (parities[1], reflected[1])):
            block += sign_x * sign_y * correlation[apart_x[:, None, :, None], apart_y[None, :, None, :]]
    # The largest entry of a vector of the basis is sqrt(1/2), or 1 for a cell that is its own reflection.
    weights = 0.5 / np.outer(along_x.max(1), along_y.max(1))
    block *= weights[:, :, None, None] * weights
    size = weights.size
    most = min(terms, size)
    values, vectors = scipy.linalg.eigh(
        block.reshape(size, size), subset_by_index=[size - most, size - 1], overwrite_a=True
    )
    fields = along_x.T @ vectors.T[::-1].reshape(most, *shape) @ along_y
    return values[::-1], fields * _signs(fields)[:, None, None]


def _basis(points: int, parity: int) -> np.ndarray:
    """An orthonormal basis (m, points) of the vectors that are even (1) or odd (-1) under reflection."""
    half = np.eye(points)[: (points + 1) // 2 if parity == 1 else points // 2]
    basis = half + parity * half[:, ::-1]
    return basis / np.linalg.norm(basis, axis=1, keepdims=True)


def _signs(fields: np.ndarray) -> np.ndarray:
    """The signs (m,) that make the largest value of each field (m, p, q) positive.

    Of values within a thousandth of the largest, the first decides.
    """
    flat = fields.reshape(len(fields), -1)
    large = np.abs(flat) > 0.999 * np.abs(flat).max(1, keepdims=True)
    return np.sign(flat[np.arange(len(flat)), large.argmax(1)])
