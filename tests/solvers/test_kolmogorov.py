"""The Kolmogorov solver compared with exact flows, budgets and convergence order."""

import math

import pytest
import torch

from plumbline.solvers import kolmogorov

SIDE = 2 * math.pi


def grid(points: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.arange(points, dtype=torch.float64) * SIDE / points
    return x[:, None], x[None, :]


def random_vorticity(points: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(2, points, points, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    k = torch.fft.fftfreq(points, 1 / points, dtype=torch.float64)
    envelope = torch.exp(-0.1 * (k[:, None] ** 2 + k[None, :] ** 2))
    field = torch.fft.ifft2(torch.fft.fft2(noise) * envelope).real
    field = field - field.mean((1, 2), keepdim=True)
    return 3 * field / field.std()


def solve(w0, times, **options):
    given = {
        "length": SIDE,
        "viscosity": 0.01,
        "drag": 0.1,
        "forcing_amplitude": 1.0,
        "forcing_wavenumber": 4,
    }
    return kolmogorov.solve(w0, torch.as_tensor(times), **(given | options))


def relative(found, exact) -> float:
    return float((found - exact).norm() / exact.norm())


def test_taylor_green_decay():
    x, y = grid(64)
    w0 = (2 * torch.cos(x) * torch.cos(y))[None]
    found = solve(w0, [1.0], drag=0.0, forcing_amplitude=0.0)[:, 0]
    assert relative(found, w0 * math.exp(-2 * 0.01)) < 1e-10


def test_laminar_flow_balances_the_force():
    """w = -A n cos(n y) / (nu n^2 + mu) is steady: force, viscosity and drag cancel; advection vanishes."""
    _, y = grid(32)
    steady = -4 * torch.cos(4 * y) / (0.01 * 16 + 0.1)
    w0 = steady.expand(32, 32)[None]
    assert relative(solve(w0, [0.5])[:, 0], w0) < 1e-11


@pytest.mark.parametrize(
    ("scheme", "steps", "order"), [("etdrk4", 25, 3.8), ("etdab4", 200, 3.7), ("cnrk4", 25, 1.8)]
)
def test_order_in_time(scheme, steps, order):
    w0 = random_vorticity(32)
    truth = solve(w0, [0.5], max_step=0.5 / 1600)
    errors = [relative(solve(w0, [0.5], max_step=0.5 / n, scheme=scheme), truth) for n in (steps, 2 * steps)]
    assert math.log2(errors[0] / errors[1]) > order


def test_velocity_has_no_divergence_and_the_given_vorticity():
    w = random_vorticity(64)
    u, v = kolmogorov.velocity(w, length=SIDE).unbind(1)
    k = torch.fft.fftfreq(64, 1 / 64, dtype=torch.float64)
    k[32] = 0.0
    kx, ky = 1j * k[:, None], 1j * k[None, :]
    gradients = [torch.fft.ifft2(a * torch.fft.fft2(b)).real for a in (kx, ky) for b in (u, v)]
    u_x, v_x, u_y, v_y = gradients
    assert (u_x + v_y).norm() / torch.stack(gradients).norm() < 1e-12
    assert relative(v_x - u_y, w) < 1e-10


def test_energy_and_enstrophy_budgets_close():
    """dE/dt = -2 nu Z - 2 mu E + <u f>, dZ/dt = -nu <|grad w|^2> - 2 mu Z + <w curl f>."""
    h, points = 1e-3, 64
    w = solve(random_vorticity(points), [0.1, 0.1 + h, 0.1 + 2 * h], max_step=h)
    u = kolmogorov.velocity(w, length=SIDE)
    energy, enstrophy = 0.5 * u.square().sum(2).mean((2, 3)), 0.5 * w.square().mean((2, 3))
    _, y = grid(points)
    middle, velocity = w[:, 1], u[:, 1]
    force = torch.sin(4 * y)
    work = (velocity[:, 0] * force).mean((1, 2))
    energy_rate = -2 * 0.01 * enstrophy[:, 1] - 2 * 0.1 * energy[:, 1] + work
    torch.testing.assert_close((energy[:, 2] - energy[:, 0]) / (2 * h), energy_rate, rtol=1e-4, atol=1e-6)
    k = torch.fft.fftfreq(points, 1 / points, dtype=torch.float64)
    square = k[:, None] ** 2 + k[None, :] ** 2
    palinstrophy = (torch.fft.fft2(middle).abs().square() * square).sum((1, 2)) / points**4
    input_rate = (middle * (-4 * torch.cos(4 * y))).mean((1, 2))
    enstrophy_rate = -0.01 * palinstrophy - 2 * 0.1 * enstrophy[:, 1] + input_rate
    torch.testing.assert_close(
        (enstrophy[:, 2] - enstrophy[:, 0]) / (2 * h), enstrophy_rate, rtol=1e-4, atol=1e-5
    )


def test_a_trajectory_does_not_depend_on_its_batch():
    """Trajectories of very different size are computed in pairs, an odd one alone."""
    fields = torch.cat(
        [random_vorticity(32, seed) * scale for seed, scale in ((0, 1.0), (1, 0.01), (2, 20.0))]
    )[:5]
    together = solve(fields, [0.05, 0.1])
    for i in range(5):
        torch.testing.assert_close(
            together[i : i + 1], solve(fields[i : i + 1], [0.05, 0.1]), rtol=1e-9, atol=1e-11
        )


def test_gradients_match_finite_differences():
    w0 = random_vorticity(16)[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda w: solve(w, [0.05], max_step=0.05)[:, :, :4, :4], (w0,), atol=1e-6)


def test_single_precision_follows_double():
    w0 = random_vorticity(64)
    assert relative(solve(w0.float(), [0.5]).double(), solve(w0, [0.5])) < 1e-4


def test_a_flow_that_speeds_up_is_refined_on_the_way():
    """A strong force accelerates a flow at rest beyond the first step's limit.

    The flow is chaotic: it is compared with a fine solution early on, and must stay finite later.
    """
    w0 = 1e-3 * random_vorticity(32)
    coarse = solve(w0, [1.0, 2.0], forcing_amplitude=50.0, max_step=1.0)
    fine = solve(w0, [1.0, 2.0], forcing_amplitude=50.0, max_step=1e-3)
    assert relative(coarse[:, 0], fine[:, 0]) < 0.02
    assert torch.isfinite(coarse).all()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("w0", "options", "words"),
    [
        (torch.zeros(1, 8, 16), {}, "n, n"),
        (torch.zeros(1, 16, 16), {"forcing_wavenumber": 8}, "forcing_wavenumber"),
        (torch.zeros(1, 16, 16), {"drag": -1.0}, "drag"),
        (torch.full((1, 16, 16), math.inf), {}, "not finite"),
    ],
)
def test_bad_input_is_named(w0, options, words):
    with pytest.raises(ValueError, match=words):
        solve(w0, [0.1], **options)
