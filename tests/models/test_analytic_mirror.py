"""Mirror maps in closed form: gradients of convex potentials, exact inverses, and samples that stay in the set."""

import pytest
import torch
import xarray as xr

from plumbline.models import Foundation, TrainingSpec
from plumbline.models.analytic_mirror import AnalyticMirrorSpec
from plumbline.models.diffusion import DiffusionSpec
from plumbline.samplers import Problem
from plumbline.samplers.unconstrained import HeunSpec
from plumbline.stages.sample import draw
from plumbline.training import train

N = 5
SETS = [
    {"kind": "simplex", "total": 3.0},
    {"kind": "ball", "radius": 2.0},
    {"kind": "box", "low": -1.0, "high": 4.0},
]


def example() -> xr.Dataset:
    return xr.Dataset({"state": (("sample", "coordinate"), torch.zeros(1, N).numpy())})


def mirror_of(convex_set):
    return AnalyticMirrorSpec(set=convex_set).build(Foundation(example()))


def inside(convex_set, count, dtype=torch.float64):
    """Points well inside the set."""
    torch.manual_seed(0)
    if convex_set["kind"] == "simplex":
        return 3.0 * (torch.rand(count, N, dtype=dtype) + 0.1).softmax(1)
    if convex_set["kind"] == "ball":
        return torch.nn.functional.normalize(torch.randn(count, N, dtype=dtype)) * (
            1.9 * torch.rand(count, 1, dtype=dtype)
        )
    return -0.9 + 4.8 * torch.rand(count, N, dtype=dtype)


def potential(convex_set, x):
    if convex_set["kind"] == "simplex":
        return (x * x.log()).sum(1)
    if convex_set["kind"] == "ball":
        return -0.5 * torch.log(4.0 - x.square().sum(1))
    u = (x - 1.5) / 2.5
    return 2.5 * (u * torch.atanh(u) + 0.5 * torch.log(1 - u**2)).sum(1)


@pytest.mark.parametrize("convex_set", SETS, ids=lambda s: s["kind"])
def test_the_way_there_is_a_gradient_and_the_way_back_its_inverse(convex_set):
    mirror, x = mirror_of(convex_set), inside(convex_set, 50).requires_grad_()
    (gradient,) = torch.autograd.grad(potential(convex_set, x).sum(), x)
    if convex_set["kind"] == "simplex":  # along the simplex
        gradient = gradient - gradient.mean(1, keepdim=True)
    torch.testing.assert_close(mirror.image(x), gradient)
    torch.testing.assert_close(mirror.decoded(mirror.image(x)), x)


@pytest.mark.parametrize("convex_set", SETS, ids=lambda s: s["kind"])
def test_whatever_comes_back_is_in_the_set(convex_set):
    torch.manual_seed(1)
    x = mirror_of(convex_set).decoded(20 * torch.randn(1000, N, dtype=torch.float64))
    if convex_set["kind"] == "simplex":
        torch.testing.assert_close(x.sum(1), torch.full((1000,), 3.0, dtype=torch.float64))
        assert (x >= 0).all()
    elif convex_set["kind"] == "ball":
        assert (x.norm(dim=1) < 2.0).all()
    else:
        assert ((x >= -1) & (x <= 4)).all()


def test_states_on_the_border_are_moved_inwards_and_those_outside_a_ball_are_refused():
    assert torch.isfinite(mirror_of(SETS[0]).image(torch.tensor([[3.0, 0, 0, 0, 0]]))).all()
    assert torch.isfinite(mirror_of(SETS[2]).image(torch.tensor([[4.0, -1, 0, 0, 0]]))).all()
    with pytest.raises(ValueError, match="not inside the ball of radius 2"):
        mirror_of(SETS[1]).image(torch.full((1, N), 1.0))


def test_diffusion_in_the_space_of_a_simplex_draws_its_law(tmp_path):
    """Means of a Dirichlet law to five standard errors of 500 draws, and a part for what 800 steps leave."""
    torch.manual_seed(0)
    alpha = torch.tensor([2.0, 4.0, 8.0, 4.0, 2.0])
    data = {"state": 3.0 * torch.distributions.Dirichlet(alpha).sample((2000,))}
    spec = DiffusionSpec(network={"kind": "mlp", "width": 64, "blocks": 2}, space="simplex")
    model = spec.build(Foundation(example(), models={"simplex": mirror_of(SETS[0])}))
    model.prepare(data)
    training = TrainingSpec(steps=800, batch=128, learning_rate=2e-3, ema=0.99, accelerator="cpu")
    model = train(model, data, training, validation={}, seed=0, folder=tmp_path, identity="test").eval()
    torch.manual_seed(1)
    x = draw(model, HeunSpec(steps=20), Problem(None, {}, {"state": data["state"][:500]}))["state"]
    torch.testing.assert_close(x.sum(1), torch.full((500,), 3.0), rtol=1e-6, atol=0)
    assert (x > 0).all()
    expected, deviation = 3 * alpha / 20, 3 * torch.sqrt(alpha / 20 * (1 - alpha / 20) / 21)
    assert ((x.mean(0) - expected).abs() < 5 * deviation / 500**0.5 + 0.05).all()
    assert ((x.std(0) / deviation - 1).abs() < 0.3).all()
