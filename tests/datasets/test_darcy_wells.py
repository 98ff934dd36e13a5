"""Darcy flow between two wells: the random field, and the pressure that belongs to it."""

import numpy as np
import pytest
from pydantic import ValidationError

from plumbline.datasets.darcy_wells import DarcyWellsSpec, karhunen_loeve
from plumbline.solvers import darcy

SPLITS = {"train": 40, "validation": 2, "test": 2}


def covariance(points: int, length: float) -> np.ndarray:
    centre = (np.arange(points) + 0.5) / points
    place = np.stack(np.meshgrid(centre, centre, indexing="ij"), -1).reshape(-1, 2)
    return np.exp(-np.linalg.norm(place[:, None] - place, axis=-1) / length)


@pytest.mark.parametrize("points", [8, 9, 12])
def test_the_terms_are_the_largest_eigenvectors_of_the_covariance(points):
    matrix = covariance(points, 0.1)
    values = np.linalg.eigvalsh(matrix)[::-1]
    terms = karhunen_loeve(points, 0.1, 20).reshape(20, -1)
    found = (terms**2).sum(1)
    np.testing.assert_allclose(found, values[:20], rtol=1e-10)
    np.testing.assert_allclose(terms @ terms.T, np.diag(found), atol=1e-10)
    np.testing.assert_allclose(matrix @ terms.T, terms.T * found, atol=1e-10)
    everything = karhunen_loeve(points, 0.1, points**2).reshape(points**2, -1)
    np.testing.assert_allclose(everything.T @ everything, matrix, atol=1e-10)


def test_equal_eigenvalues_have_the_same_terms_on_each_machine():
    """Pairs of terms with equal eigenvalues are images of each other when the axes are exchanged."""
    terms = karhunen_loeve(8, 0.1, 12)
    values = (terms**2).sum((1, 2))
    pairs = [k for k in range(11) if abs(values[k] - values[k + 1]) < 1e-9]
    assert pairs
    for k in pairs:
        np.testing.assert_allclose(terms[k + 1], terms[k].T, atol=1e-12)
    for term in terms:
        assert term.ravel()[np.abs(term).ravel() > 0.999 * np.abs(term).max()][0] > 0


def test_the_logarithm_of_the_permeability_has_the_truncated_covariance():
    """At four cells, from 4000 samples, within five standard errors (false alarms: 1 in 10^5)."""
    spec = DarcyWellsSpec(points=8, terms=20, splits=SPLITS)
    fields = np.log(spec.permeabilities(np.arange(4000)))
    terms = karhunen_loeve(8, 0.1, 20)
    for i, j in ((0, 0), (3, 5), (7, 2), (4, 4)):
        products = fields[:, i, j] * fields[:, 3, 4]
        expected = terms[:, i, j] @ terms[:, 3, 4]
        assert abs(products.mean() - expected) < 5 * products.std() / np.sqrt(4000)


def test_the_published_grid_has_the_published_mean_permeability():
    """1.386, the mean that the authors of physics-based flow matching standardise their permeabilities with.

    A cell's permeability has a standard deviation of 1.3, and the mean over a field of .17. That over 200
    fields is within five standard errors.
    """
    fields = DarcyWellsSpec(splits=SPLITS).permeabilities(np.arange(200)).mean((1, 2))
    assert abs(fields.mean() - 1.386) < 5 * fields.std() / np.sqrt(200)
    assert fields.std() < 0.3


def test_a_sample_is_a_permeability_and_its_pressure():
    spec = DarcyWellsSpec(points=16, splits=SPLITS, parts=1)
    data = spec.draw_part(0)
    assert data["state"].dims == ("sample", "field", "x", "y")
    assert data["field"].values.tolist() == ["permeability", "pressure"]
    permeability, pressure = np.moveaxis(data["state"].values, 1, 0)
    source = data["source"].values
    assert (source[:2, :2] == 10).all() and (source[-2:, -2:] == -10).all() and np.abs(source).sum() == 80
    solved = darcy.solve_without_flux(permeability, source)
    np.testing.assert_allclose(pressure, solved, rtol=1e-6, atol=1e-7)
    assert (permeability > 0).all()
    # Fluid flows from the first corner to the last.
    assert (pressure[:, 0, 0] > 0).all() and (pressure[:, -1, -1] < 0).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"points": 12}, "`points` is 12, so that a well of the width 0.125 has 1.5 cells"),
        ({"points": 64, "well": 0.1}, "6.4 cells along a side"),
        ({"points": 8, "terms": 65}, "`terms` must be at most the number of cells, 64, found 65"),
    ],
)
def test_wells_are_whole_cells(keys, message):
    with pytest.raises(ValidationError, match=message):
        DarcyWellsSpec(splits=SPLITS, **keys)
