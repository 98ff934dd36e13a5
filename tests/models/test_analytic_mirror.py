"""Mirror maps in closed form: gradients of convex potentials, exact inverses, samples within the set."""

import pytest
import torch
import xarray as xr

from plumbline.models import BuildContext
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.models.mirror.analytic_mirror import AnalyticMirrorSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.heun import HeunSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

N = 5
FACES = [[1.0, 0.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0, 1.0], [0.0, 1.0, -1.0, 2.0, 0.0]]
"""Neither orthogonal nor of length one, with two directions that they do not bound."""
SETS = [
    {"kind": "simplex", "total": 3.0},
    {"kind": "ball", "radius": 2.0},
    {"kind": "box", "low": -1.0, "high": 4.0},
    {"kind": "polytope", "faces": FACES, "low": [-1.0, 0.0, -3.0], "high": [1.0, 2.0, 0.5]},
]


MIDDLE, REACH = torch.tensor([0.0, 1.0, -1.25]).double(), torch.tensor([1.0, 1.0, 1.75]).double()


def example() -> xr.Dataset:
    return xr.Dataset({"state": (("sample", "per_feature"), torch.zeros(1, N).numpy())})


def mirror_of(convex_set):
    return AnalyticMirrorSpec(set=convex_set).build(BuildContext(example()))


def inside(convex_set, count, dtype=torch.float64):
    """Points well inside the set."""
    torch.manual_seed(0)
    if convex_set["kind"] == "simplex":
        return 3.0 * (torch.rand(count, N, dtype=dtype) + 0.1).softmax(1)
    if convex_set["kind"] == "ball":
        return torch.nn.functional.normalize(torch.randn(count, N, dtype=dtype)) * (
            1.9 * torch.rand(count, 1, dtype=dtype)
        )
    if convex_set["kind"] == "polytope":
        place = 0.95 * (2 * torch.rand(count, 3, dtype=dtype) - 1)
        inverse = torch.linalg.pinv(torch.tensor(FACES, dtype=dtype))
        beside = torch.randn(count, N, dtype=dtype) @ (
            torch.eye(N, dtype=dtype) - inverse @ torch.tensor(FACES, dtype=dtype)
        )
        return (MIDDLE + REACH * place) @ inverse.T + beside
    return -0.9 + 4.8 * torch.rand(count, N, dtype=dtype)


def potential(convex_set, x):
    if convex_set["kind"] == "simplex":
        return (x * x.log()).sum(1)
    if convex_set["kind"] == "ball":
        return -0.5 * torch.log(4.0 - x.square().sum(1))
    if convex_set["kind"] == "polytope":
        faces = torch.tensor(FACES, dtype=x.dtype)
        u = (x @ faces.T - MIDDLE) / REACH
        beside = x - x @ faces.T @ torch.linalg.pinv(faces).T
        across = REACH * (u * torch.atanh(u) + 0.5 * torch.log(1 - u**2))
        return across.sum(1) + 0.5 * beside.square().sum(1)
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
    elif convex_set["kind"] == "polytope":
        place = (x @ torch.tensor(FACES, dtype=x.dtype).T - MIDDLE) / REACH
        assert (place.abs() <= 1 + 1e-12).all()
        assert (place.abs() > 0.999).any()  # right up to the faces
    else:
        assert ((x >= -1) & (x <= 4)).all()


def test_states_on_the_border_are_moved_inwards_and_those_outside_a_ball_are_refused():
    assert torch.isfinite(mirror_of(SETS[0]).image(torch.tensor([[3.0, 0, 0, 0, 0]]))).all()
    assert torch.isfinite(mirror_of(SETS[2]).image(torch.tensor([[4.0, -1, 0, 0, 0]]))).all()
    with pytest.raises(ValueError, match="not inside the ball of radius 2"):
        mirror_of(SETS[1]).image(torch.full((1, N), 1.0))


def test_a_box_is_a_polytope_whose_faces_are_the_axes():
    x = inside(SETS[2], 20)
    axes = {"kind": "polytope", "faces": torch.eye(N).tolist(), "low": [-1.0] * N, "high": [4.0] * N}
    torch.testing.assert_close(mirror_of(axes).image(x), mirror_of(SETS[2]).image(x))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"faces": [[1.0, 0.0], [1.0]]}, r"`faces` must be of one length, that of a state; found \[1, 2\]"),
        ({"low": [0.0]}, "`low` needs a bound for each of the 3 `faces`, found 1"),
        ({"low": [0.0, 3.0, -3.0]}, "`low` must be less than `high`, found 3.0, 2.0 for face 1"),
        ({"faces": [*FACES[:2], FACES[0]]}, "`faces` must be linearly independent; of 3 only 2 are"),
        ({"faces": [face[:4] for face in FACES]}, "`faces` of 4 numbers for states of 5"),
    ],
)
def test_faces_that_bound_no_polytope_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        mirror_of(SETS[3] | changed)


def test_diffusion_in_the_space_of_a_simplex_draws_its_law(tmp_path):
    """Means of a Dirichlet distribution.

    The tolerance is five standard errors of 500 samples and a margin for 800 steps of training.
    """
    torch.manual_seed(0)
    alpha = torch.tensor([2.0, 4.0, 8.0, 4.0, 2.0])
    data = {"state": 3.0 * torch.distributions.Dirichlet(alpha).sample((2000,))}
    spec = DiffusionSpec(network={"kind": "mlp", "width": 64, "blocks": 2}, space="simplex")
    model = spec.build(BuildContext(example(), models={"simplex": mirror_of(SETS[0])}))
    model.prepare(data)
    training = TrainingSpec(steps=800, batch=128, learning_rate=2e-3, ema=0.99, accelerator="cpu")
    model = train(model, InMemory(data), training, seed=0, folder=tmp_path, identity="test").eval()
    torch.manual_seed(1)
    x = HeunSpec(steps=20).sample(model, SamplingTask({"state": data["state"][:500]})).state
    torch.testing.assert_close(x.sum(1), torch.full((500,), 3.0), rtol=1e-6, atol=0)
    assert (x > 0).all()
    expected, std = 3 * alpha / 20, 3 * torch.sqrt(alpha / 20 * (1 - alpha / 20) / 21)
    assert ((x.mean(0) - expected).abs() < 5 * std / 500**0.5 + 0.05).all()
    assert ((x.std(0) / std - 1).abs() < 0.3).all()
