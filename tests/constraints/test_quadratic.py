"""Quadratic equations, against the same written by hand."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints._equations import Equations
from plumbline.constraints.quadratic import QuadraticSpec

EXAMPLE = xr.Dataset({"state": (("sample", "x"), np.ones((2, 3)))})
KEYS = {
    "matrices": [[[2.0, 0, 0], [0, 4.0, 0], [0, 0, 1.0]], [[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]]],
    "vectors": [[0, 0, 0], [0, 0, 1.0]],
    "constants": [-2.0, -0.3],
}


def by_hand(x):
    first = x[:, 0] ** 2 + 2 * x[:, 1] ** 2 + x[:, 2] ** 2 / 2 - 2
    return torch.stack([first, x[:, 0] * x[:, 1] + x[:, 2] - 0.3], 1)


def test_residuals_jacobians_and_projections_are_those_of_the_equations():
    made, same = QuadraticSpec(**KEYS).build(EXAMPLE), Equations(by_hand)
    x = torch.randn(40, 3, dtype=torch.float64)
    torch.testing.assert_close(made.residual(x), same.residual(x))
    assert made.residual(x.float()).dtype == torch.float32
    torch.testing.assert_close(made.project(x), same.project(x), atol=1e-8, rtol=1e-8)
    v = torch.randn(40, 3, dtype=torch.float64)
    torch.testing.assert_close(made.jacobian_products(x).apply(v), same.jacobian_products(x).apply(v))


def test_variables_of_the_dataset_are_the_same():
    dims = {"matrices": ("e", "x", "other"), "vectors": ("e", "x"), "constants": ("e",)}
    data = EXAMPLE.assign({name: (dims[name], np.array(values)) for name, values in KEYS.items()})
    made = QuadraticSpec(**{name: name for name in KEYS}).build(data)
    x = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(made.residual(x), by_hand(x))
    assert made.to("meta").function.matrices.device.type == "meta"


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": [[0.0, 1.0]]}, r"`vectors` must have the shape \(2, 3\) for 2 equations of 3 coord"),
        ({"matrices": [[[1.0, 1, 0], [0, 1, 0], [0, 0, 1]]] * 2}, "`matrices` must be symmetric"),
        ({"constants": "nothing"}, "`quadratic`: `constants`: the dataset has no variable 'nothing'"),
        ({"constants": []}, "`matrices` must have the shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        QuadraticSpec(**{**KEYS, **change}).build(EXAMPLE)
