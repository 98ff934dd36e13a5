"""The functions phi_j and the schemes on a problem with a known solution."""

import math

import numpy as np
import pytest
import torch

from plumbline.solvers.exponential import TorchSystem, UnstableSolutionError, integrate, phi_functions


def test_phi_functions_match_their_series():
    z = torch.tensor([-300.0, -5.0, -1.0, -1e-3, -1e-9, 0.0], dtype=torch.float64)
    for j, found in enumerate(phi_functions(z, 4)):
        # phi_j(z) is the mean of exp((1 - s) z) s^(j-1) / (j-1)! over s in [0, 1].
        if j == 0:
            exact = torch.exp(z)
        else:
            s, weight = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(200))
            s, weight = (s + 1) / 2, weight / 2
            exact = (torch.exp((1 - s) * z[:, None]) * s ** (j - 1) / math.factorial(j - 1) * weight).sum(-1)
        torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-13)


def decay(rate: float) -> TorchSystem:
    """du/dt = -rate u + u, whose solution is u0 exp((1 - rate) t)."""
    linear = torch.tensor([-rate], dtype=torch.float64)
    return TorchSystem(
        linear=linear,
        nonlinear=lambda u: u,
        step_limit=lambda u: torch.full((len(u),), 1.0, dtype=u.dtype),
        to_grid=lambda u: u,
    )


@pytest.mark.parametrize("scheme", ["etdrk4", "etdab4", "cnrk4"])
def test_linear_problem(scheme):
    state = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    times, places = torch.tensor([1.0]), torch.tensor([1, 0])
    found = integrate(decay(3.0), state, places, times, courant=0.5, max_step=0.01, scheme=scheme)
    tolerance = {"etdrk4": 1e-8, "etdab4": 1e-7, "cnrk4": 1e-4}[scheme]
    torch.testing.assert_close(found[:, 0], state.flip(0) * math.exp(-2.0), rtol=tolerance, atol=0)


def test_a_hopeless_problem_is_an_error():
    explosive = TorchSystem(
        linear=torch.zeros(1, dtype=torch.float64),
        nonlinear=lambda u: u**3,
        step_limit=lambda u: 1 / u.abs().amax(-1).clamp(min=1e-300),
        to_grid=lambda u: u,
    )
    with pytest.raises(UnstableSolutionError, match="unstable between times 0 and 10"):
        integrate(
            explosive,
            torch.ones(1, 1, dtype=torch.float64),
            torch.tensor([0]),
            torch.tensor([10.0]),
            courant=0.5,
            max_step=None,
            scheme="etdrk4",
        )
