r"""A Gaussian random field that diffuses: space and time given measurements, boundary values and total heat.

On the periodic unit interval or square, the initial field is Gaussian with the mean zero, the variance one
and a correlation exp(-|d|^2 / (2 l^2)), up to periodicity, and u(t) solves the heat equation u_t = D
Laplace u. With real Fourier functions phi_k, their variances v_k and independent standard normal numbers
z_k,

    u(x, t) = sum_k z_k sqrt(v_k) exp(-D |2 pi k|^2 t) phi_k(x)  =:  (F^T z)(x, t),

so that the whole of u is jointly Gaussian with the covariance F^T F, of a rank of at most the number of
grid points. Everything that is known of u is linear: B z = k with B = A F^T. The exact distribution is that
of F^T z for z orthogonally projected onto B z = k, with the mean F^T B^+ k and the covariance F^T (I - B^+
B) F. This is kriging (Rasmussen and Williams 2006, *Gaussian Processes for Machine Learning*, section 2.2),
and solves the inverse problem of the initial field exactly.

Diffusion erases differences, so that later values nearly follow from earlier ones, and the total heat is
the same at all times. Rows of B that follow from others to rounding are left out by B^+, and k is
consistent with them. Rows that are nearly dependent would make the exact distribution a matter of the last
digits: they are refused.

The reference field `given`, a sample of the distribution, provides k: the constraint may be written as
`linear_equality` with `matrix` and `target`, or as `fixed` values of `given` and `conserved` totals `total`.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets._exact import ExactConditionalSpec, Numbers
from plumbline.spec import LARGEST_SEED, key

if TYPE_CHECKING:
    import xarray as xr

DEPENDENT, NEARLY_DEPENDENT = 1e-10, 3e-4
"""Standard deviation of a combination of rows, relative to the largest, below which it counts as known, and
below which it is refused otherwise."""
LARGEST_COVARIANCE = 2500
"""Largest number of coordinates for which the conditional covariance is stored."""


class HeatFieldSpec(ExactConditionalSpec):
    """A Gaussian random field and its diffusion, given values at sensors, a boundary and the total heat."""

    kind: Literal["heat_field"] = "heat_field"
    dimensions: Literal[1, 2] = 1
    """Number of dimensions of space."""
    points: int = key("grid points", ge=4, default=24)
    """Number of grid points along each axis of space."""
    times: int = key("times", ge=2, default=8)
    """Number of times, from zero to `duration`."""
    duration: float = key("time", gt=0, default=1.0)
    """Last time."""
    diffusivity: float = key("length^2/time", gt=0, default=0.004)
    """D, the diffusivity of heat."""
    correlation_length: float = key("length", gt=0, lt=0.5, default=0.08)
    """l, the correlation length of the initial field; the period is one."""
    sensors: int = key(ge=0, default=4)
    """Number of places along each axis of space where the initial field is given, evenly spaced."""
    final_sensors: int = key(ge=0, default=0)
    """The same at the last time."""
    boundary: int = key("times", ge=0, default=2)
    """Number of times, evenly spaced from zero, at which the field is given where x = 0, the ends of the
    period."""
    total: bool = True
    """Whether the total heat is given, at all times."""
    problem_seed: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Random seed of the reference field."""

    @model_validator(mode="after")
    def _something_is_given(self) -> HeatFieldSpec:
        if not (self.sensors or self.final_sensors or self.boundary or self.total):
            raise ValueError(
                "give `sensors`, `final_sensors`, `boundary` or `total`, since nothing is known otherwise"
            )
        if self.boundary > self.times:
            raise ValueError(f"`boundary` must be at most `times`, found {self.boundary}")
        for name in ("sensors", "final_sensors"):
            if 2 * getattr(self, name) > self.points:
                raise ValueError(f"`{name}` must be at most half of `points`, found {getattr(self, name)}")
        rows = self.matrix() @ self.factors().T
        spreads = np.linalg.svd(rows / np.linalg.norm(self.matrix(), axis=1, keepdims=True), compute_uv=False)
        relative = spreads / spreads[0]
        between = relative[(relative > DEPENDENT) & (relative < NEARLY_DEPENDENT)]
        if len(between):
            raise ValueError(
                f"{len(between)} of the given values nearly follow from the others (a combination has "
                f"a relative standard deviation of {between.min():.1g}): give the `boundary` at fewer times, "
                "choose fewer sensors, or a smaller `correlation_length` or `diffusivity`"
            )
        return self

    def layout(self) -> tuple[tuple[str, ...], dict[str, str]]:
        return ("time", *self._axes()), {"long_name": "temperature", "units": "K"}

    def known(self) -> xr.Dataset:
        """Adds `matrix` and `target`, the reference field `given`, and its `total` over the grid."""
        import xarray as xr

        dims, attrs = self.layout()
        shape = self._shape()
        factors, matrix = self.factors(), self.matrix()
        reference = self._reference()
        mean, root = self.conditional()
        variables: dict[str, tuple] = {
            "component_weights": (("component",), np.ones(1)),
            "component_means": (("component", *dims), np.zeros((1, *shape))),
            "component_factors": (("component", "factor", *dims), factors.reshape(1, -1, *shape)),
            "matrix": (("equality", *dims), matrix.reshape(-1, *shape)),
            "target": (("equality",), matrix @ reference),
            "given": (dims, reference.reshape(shape), attrs),
            "total": (("time",), reference.reshape(self.times, -1).sum(1), {"units": "K"}),
            "conditional_mean": (dims, mean.reshape(shape), attrs),
            "conditional_std": (dims, np.sqrt((root**2).sum(0)).reshape(shape), attrs),
        }
        if len(mean) <= LARGEST_COVARIANCE:
            variables["conditional_covariance"] = (("entry", "other"), root.T @ root)
        position = np.arange(self.points) / self.points
        along = {"long_name": "position", "units": "length", "period": 1.0}
        coords: dict[str, tuple] = {axis: (axis, position, along) for axis in self._axes()}
        when = {"long_name": "time", "units": "time"}
        coords["time"] = ("time", np.linspace(0.0, self.duration, self.times), when)
        return xr.Dataset(variables, coords=coords, attrs={"title": "diffusion of a Gaussian random field"})

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        factors = self.factors()
        return (numbers.normals(len(factors)) @ factors).reshape(-1, *self._shape())

    def constrained(self, numbers: Numbers) -> np.ndarray:
        factors = self.factors()
        rows = factors @ self.matrix().T  # B^T
        z = numbers.normals(len(factors))
        z += (self.matrix() @ self._reference() - z @ rows) @ np.linalg.pinv(rows, rcond=DEPENDENT)
        return (z @ factors).reshape(-1, *self._shape())

    def conditional(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (n,) of the exact distribution, and R (r, n), where R^T R is its covariance."""
        factors, matrix = self.factors(), self.matrix()
        rows = (factors @ matrix.T).T
        inverse = np.linalg.pinv(rows, rcond=DEPENDENT)
        mean = (inverse @ (matrix @ self._reference())) @ factors
        return mean, factors - inverse @ (rows @ factors)

    def factors(self) -> np.ndarray:
        """F (r, n), with one row per Fourier function."""
        size = self.points
        wavenumber = (np.arange(size) + 1) // 2  # 0, 1, 1, 2, 2, ...
        phase = 2 * np.pi * np.outer(wavenumber, np.arange(size) / size)
        waves = np.where((np.arange(size) % 2 == 1)[:, None], np.cos(phase), np.sin(phase))
        waves[0] = 1.0
        waves /= np.sqrt((waves**2).mean(1, keepdims=True))
        variances = np.exp(-0.5 * (2 * np.pi * wavenumber * self.correlation_length) ** 2)
        variances /= variances.sum()
        time = np.linspace(0.0, self.duration, self.times)
        decay = np.exp(-self.diffusivity * np.outer((2 * np.pi * wavenumber) ** 2, time))
        # Along one axis (r, times, points); the fields of several axes are products.
        one = np.sqrt(variances)[:, None, None] * decay[:, :, None] * waves[:, None, :]
        whole = reduce(lambda a, b: np.einsum("atx,bty->abtxy", a, b), [one] * self.dimensions)
        return whole.reshape(size**self.dimensions, -1)

    def matrix(self) -> np.ndarray:
        """A (m, n): one row per given value."""
        size = int(np.prod(self._shape()))
        places = np.arange(size).reshape(self._shape())
        chosen = []
        for time, count in ((0, self.sensors), (-1, self.final_sensors)):
            at = ((np.arange(count) + 0.5) * self.points / max(count, 1)).astype(int)
            chosen.append(places[(time, *np.ix_(*[at] * self.dimensions))].ravel())
        if self.boundary:
            chosen.append(places[:: -(-self.times // self.boundary), 0][: self.boundary].ravel())
        given = np.concatenate(chosen)
        rows = np.zeros((len(given), size))
        rows[np.arange(len(given)), given] = 1.0
        if self.total:
            rows = np.concatenate([rows, np.kron(np.eye(self.times), np.ones(self.points**self.dimensions))])
        return rows

    def _reference(self) -> np.ndarray:
        """A field (n,) of the distribution."""
        factors = self.factors()
        return np.random.default_rng([self.problem_seed, 0]).standard_normal(len(factors)) @ factors

    def _axes(self) -> tuple[str, ...]:
        return ("x", "y")[: self.dimensions]

    def _shape(self) -> tuple[int, ...]:
        return self.times, *[self.points] * self.dimensions
