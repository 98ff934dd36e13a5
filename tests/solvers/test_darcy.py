"""Darcy flow without flux through the boundary: order, conservation, and an exact solution in layers."""

import numpy as np
import pytest

from plumbline.solvers import darcy


def manufactured(cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permeability, source and pressure for u = cos(pi x) cos(2 pi y) and a = 2 + sin(3 x) y, in cells.

    The source is the mean over a cell, by Gauss-Legendre quadrature, minus its mean over the square, which
    vanishes up to the error of the quadrature.
    """
    centre = (np.arange(cells) + 0.5) / cells
    nodes, weights = np.polynomial.legendre.leggauss(4)
    within = (centre[:, None] + nodes / (2 * cells)).ravel()
    x, y = np.meshgrid(within, within, indexing="ij")
    pi = np.pi
    u = np.cos(pi * x) * np.cos(2 * pi * y)
    a, a_x, a_y = 2 + np.sin(3 * x) * y, 3 * np.cos(3 * x) * y, np.sin(3 * x)
    u_x, u_y = -pi * np.sin(pi * x) * np.cos(2 * pi * y), -2 * pi * np.cos(pi * x) * np.sin(2 * pi * y)
    pointwise = -(a_x * u_x + a_y * u_y - 5 * pi**2 * a * u)
    f = np.einsum("iajb,a,b->ij", pointwise.reshape(cells, 4, cells, 4), weights, weights) / 4
    x, y = np.meshgrid(centre, centre, indexing="ij")
    assert abs(f.mean()) < 1e-9 * np.abs(f).mean()
    return 2 + np.sin(3 * x) * y, f - f.mean(), np.cos(pi * x) * np.cos(2 * pi * y)


def test_the_error_of_a_manufactured_solution_falls_with_the_second_power_of_the_spacing():
    errors = []
    for cells in (16, 32, 64):
        a, f, u = manufactured(cells)
        errors.append(np.abs(darcy.solve_without_flux(a[None], f)[0] - (u - u.mean())).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert ((orders > 1.9) & (orders < 2.1)).all()
    assert errors[-1] < 2e-3


def test_fluid_is_conserved_in_each_cell_and_the_mean_pressure_is_zero():
    rng = np.random.default_rng(0)
    n = 24
    a = np.exp(rng.standard_normal((3, n, n)))
    f = rng.standard_normal((n, n))
    f -= f.mean()
    for one, u in zip(a, darcy.solve_without_flux(a, f), strict=True):
        between = [2 * p * q / (p + q) for p, q in ((one[:-1], one[1:]), (one[:, :-1], one[:, 1:]))]
        out = np.zeros((n, n))
        for axis, mean in enumerate(between):
            flux = np.zeros((n + 1, n) if axis == 0 else (n, n + 1))
            inner = (slice(1, -1), slice(None)) if axis == 0 else (slice(None), slice(1, -1))
            flux[inner] = -mean * np.diff(u, axis=axis) * n
            out += np.diff(flux, axis=axis) * n
        assert np.abs(out - f).max() < 1e-11 * np.abs(u).max() * a.max() * n**2
        assert abs(u.mean()) < 1e-14 * np.abs(u).max() * n


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_across_the_flow_are_exact(axis):
    """Between a source at one side and a sink at the other, the flux is constant and the pressure known.

    Layers end between cells. With the flux q, the pressure falls by q h (1/a + 1/b) / 2 from one cell to the
    next.
    """
    n = 12
    layers = np.array([3.0] * 4 + [0.02] * 3 + [7.0] * 5)
    a = np.repeat(layers[:, None], n, 1)
    f = np.zeros((n, n))
    f[0], f[-1] = 5.0, -5.0
    flux, h = 5.0 / n, 1 / n
    exact = -np.concatenate([[0], np.cumsum(flux * h * (1 / layers[1:] + 1 / layers[:-1]) / 2)])
    exact -= exact.mean()
    a, f = (a, f) if axis == 0 else (a.T, f.T)
    u = darcy.solve_without_flux(a[None], f)[0]
    expected = np.repeat(exact[:, None], n, 1)
    np.testing.assert_allclose(u, expected if axis == 0 else expected.T, rtol=0, atol=1e-12)


def test_the_matrix_is_symmetric_with_the_constant_as_its_null_space():
    dense = darcy.matrix_without_flux(np.exp(np.random.default_rng(1).standard_normal((7, 7)))).toarray()
    np.testing.assert_array_equal(dense, dense.T)
    assert np.abs(dense.sum(1)).max() < 1e-12 * np.abs(dense).max()
    values = np.linalg.eigvalsh(dense)
    assert abs(values[0]) < 1e-12 * values[-1] and values[1] > 0


def test_what_has_no_solution_is_refused():
    with pytest.raises(ValueError, match="the sources must add up to zero, found 16"):
        darcy.solve_without_flux(np.ones((1, 4, 4)), np.ones((4, 4)))
    with pytest.raises(ValueError, match="must be positive, found -1"):
        darcy.solve_without_flux(-np.ones((1, 4, 4)), np.zeros((4, 4)))
