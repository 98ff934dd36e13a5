"""The solver of Darcy flow against exact solutions, and the distribution of permeabilities."""

import numpy as np
import pytest

from plumbline.datasets.darcy import DarcySpec
from plumbline.solvers import darcy

SPLITS = {"train": 40, "validation": 2, "test": 2}


def manufactured(points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permeability, source and pressure for u = sin(pi x) sin(2 pi y) and a = 2 + cos(pi x) y."""
    x, y = np.meshgrid(*[np.linspace(0, 1, points)] * 2, indexing="ij")
    pi = np.pi
    u = np.sin(pi * x) * np.sin(2 * pi * y)
    a, a_x, a_y = 2 + np.cos(pi * x) * y, -pi * np.sin(pi * x) * y, np.cos(pi * x)
    u_x, u_y = pi * np.cos(pi * x) * np.sin(2 * pi * y), 2 * pi * np.sin(pi * x) * np.cos(2 * pi * y)
    return a, -(a_x * u_x + a_y * u_y - 5 * pi**2 * a * u), u


def test_the_error_of_a_manufactured_solution_falls_with_the_second_power_of_the_spacing():
    errors = []
    for points in (17, 33, 65):
        a, f, u = manufactured(points)
        errors.append(np.abs(darcy.solve(a[None], f)[0] - u).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert ((orders > 1.95) & (orders < 2.05)).all()
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("across", [0, 1])
def test_fluid_is_conserved_at_each_point_of_layers(across):
    """With the harmonic mean between layers, the flux out of each inner point is the source, 1."""
    points = 11
    layers = np.where(np.arange(points) < 4, 3.0, 12.0)
    a = np.repeat(layers[:, None], points, 1)
    a = a if across == 0 else a.T
    u = darcy.solve(a[None], 1.0)[0]
    u = u if across == 0 else u.T
    spacing = 1 / (points - 1)
    between = 2 * layers[:-1] * layers[1:] / (layers[:-1] + layers[1:])
    flux_x = -between[:, None] * np.diff(u, axis=0) / spacing
    flux_y = -layers[:, None] * np.diff(u, axis=1) / spacing
    divergence = np.diff(flux_x[:, 1:-1], axis=0) / spacing + np.diff(flux_y[1:-1], axis=1) / spacing
    np.testing.assert_allclose(divergence, 1.0, rtol=1e-9)


def test_the_matrix_is_symmetric_and_positive():
    a = DarcySpec(points=9, splits=SPLITS).permeabilities(np.arange(1))[0]
    dense = darcy.matrix(a).toarray()
    np.testing.assert_array_equal(dense, dense.T)
    assert np.linalg.eigvalsh(dense).min() > 0


def test_the_pressure_is_that_of_the_permeability():
    spec = DarcySpec(points=16, splits=SPLITS, parts=1)
    data = spec.draw_part(0)
    assert data["condition"].dims == data["state"].dims == ("sample", "x", "y")
    assert set(np.unique(data["condition"])) == {3.0, 12.0}
    edge = np.ones((16, 16), bool)
    edge[1:-1, 1:-1] = False
    assert (data["state"].values[:, edge] == 0).all() and (data["state"].values[:, ~edge] > 0).all()
    twice = spec.model_copy(update={"low": 6.0, "high": 24.0}).draw_part(0)["state"]
    np.testing.assert_allclose(2 * twice, data["state"], rtol=1e-5)
    # Between the pressures of the two materials alone.
    for value, bound in ((12.0, np.less), (3.0, np.greater)):
        alone = darcy.solve(np.full((1, 16, 16), value), 1.0)[0]
        assert not bound(data["state"].values[:, 1:-1, 1:-1], alone[1:-1, 1:-1] * (1 - 1e-6)).all()


def test_the_field_has_the_covariance_asked_for():
    """At two points, from 4000 fields: the sum over eigenfunctions, within five standard errors."""
    spec = DarcySpec(points=5, splits=SPLITS)
    fields = spec.fields(np.arange(4000))[:, :, 1]
    k = np.arange(400)
    amplitude = (np.pi**2 * (k[:, None] ** 2 + k[None] ** 2) + 9.0) ** -2.0
    norm = np.where(k == 0, 1.0, 2.0)
    wave = np.cos(np.pi * k * 0.25)
    for point in (0, 2):
        other = np.cos(np.pi * k * point / 4)
        expected = np.einsum("ij,i,i,i,j,j->", amplitude, norm, wave, other, norm, wave**2)
        products = fields[:, 1] * fields[:, point]
        assert abs(products.mean() - expected) < 5 * products.std() / np.sqrt(4000)


def test_the_medium_does_not_depend_on_the_grid():
    coarse, fine = (
        DarcySpec(points=points, splits=SPLITS).permeabilities(np.arange(5)) for points in (9, 17)
    )
    np.testing.assert_array_equal(fine[:, ::2, ::2], coarse)
