"""Burgers' solver compared with the Cole-Hopf solution, conservation laws and convergence order."""

import math

import numpy as np
import pytest
import torch

from plumbline.solvers import burgers

LENGTH, VISCOSITY = 2 * math.pi, 0.05


def cole_hopf(points: int, time: float) -> torch.Tensor:
    """The exact solution from u = sin x.

    It is u = -2 nu (log phi)_x with phi the heat flow of exp((cos x - 1) / 2 nu).
    """
    fine = 4096
    x = np.arange(fine) * 2 * np.pi / fine
    modes = np.fft.rfft(np.exp((np.cos(x) - 1) / (2 * VISCOSITY)))
    k = np.arange(fine // 2 + 1)
    modes *= np.exp(-VISCOSITY * k**2 * time)
    phi, slope = np.fft.irfft(modes, fine), np.fft.irfft(1j * k * modes, fine)
    return torch.tensor((-2 * VISCOSITY * slope / phi)[:: fine // points])


def sine(points: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.sin(torch.arange(points, dtype=dtype) * 2 * math.pi / points)[None]


def solve(u0, times, **options):
    return burgers.solve(u0, torch.as_tensor(times), length=LENGTH, viscosity=VISCOSITY, **options)


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("scheme", [None, "etdrk4", "etdab4"])
def test_meets_the_exact_solution(scheme):
    found = solve(sine(256), [1.0], scheme=scheme)[0, 0]
    assert relative(found, cole_hopf(256, 1.0)) < 1e-8


def test_single_precision_is_as_good_as_its_rounding():
    found = solve(sine(256, torch.float32), [1.0])[0, 0]
    assert relative(found.double(), cole_hopf(256, 1.0)) < 2e-6


@pytest.mark.parametrize(
    ("scheme", "steps", "order"), [("etdrk4", 40, 3.8), ("etdab4", 400, 3.8), ("cnrk4", 40, 1.8)]
)
def test_order_in_time(scheme, steps, order):
    truth = solve(sine(128), [0.5], max_step=0.5 / 4000)
    errors = [
        relative(solve(sine(128), [0.5], max_step=0.5 / n, scheme=scheme), truth) for n in (steps, 2 * steps)
    ]
    assert math.log2(errors[0] / errors[1]) > order


def test_momentum_is_conserved_and_energy_decays_as_dissipated():
    u0 = sine(256) + 0.3
    h = 1e-3
    u = solve(u0, [0.2, 0.2 + h, 0.2 + 2 * h])[0]
    assert torch.allclose(u.mean(-1), u0.mean().expand(3), atol=1e-13)
    k = torch.arange(129) * 1.0
    slope = torch.fft.irfft(1j * k * torch.fft.rfft(u[1]), n=256)
    energy = 0.5 * u.square().mean(-1)
    assert (energy[2] - energy[0]) / (2 * h) == pytest.approx(
        -VISCOSITY * float(slope.square().mean()), rel=1e-5
    )


def test_a_trajectory_does_not_depend_on_its_batch():
    calm, wild = sine(64), 30 * sine(64)
    together = solve(torch.cat([calm, wild]), [0.1, 0.2])
    torch.testing.assert_close(together[:1], solve(calm, [0.1, 0.2]), rtol=0, atol=1e-14)
    torch.testing.assert_close(together[1:], solve(wild, [0.1, 0.2]), rtol=1e-12, atol=1e-12)


def test_times_may_be_uneven_and_start_at_zero():
    u = solve(sine(64), [0.0, 0.1, 0.1, 0.35], scheme="etdab4", max_step=0.01)
    assert torch.equal(u[:, 0], sine(64))
    assert torch.equal(u[:, 1], u[:, 2])
    torch.testing.assert_close(u[:, 3:], solve(sine(64), [0.35]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("scheme", ["etdrk4", "etdab4", "cnrk4"])
def test_an_unstable_step_is_refined(scheme):
    u0 = 20 * sine(128)
    coarse = solve(u0, [0.5], max_step=0.5, scheme=scheme)
    assert torch.isfinite(coarse).all()
    assert relative(coarse, solve(u0, [0.5], max_step=1e-4)) < 1e-2


def test_gradients_match_finite_differences():
    u0 = sine(16).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: solve(u, [0.3], max_step=0.05), (u0,), atol=1e-6)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("u0", "options", "words"),
    [
        (torch.zeros(4), {}, "shape"),
        (torch.full((1, 8), math.nan), {}, "not finite"),
        (torch.zeros(1, 8), {"viscosity": 0.0}, "positive"),
        (torch.zeros(1, 8), {"times": torch.tensor([0.2, 0.1])}, "increase"),
        (torch.zeros(1, 8), {"max_step": -1.0}, "max_step"),
    ],
)
def test_bad_input_is_named(u0, options, words):
    arguments = {"times": torch.tensor([0.1]), "length": 1.0, "viscosity": 0.1} | options
    times = arguments.pop("times")
    with pytest.raises(ValueError, match=words):
        burgers.solve(u0, times, **arguments)
