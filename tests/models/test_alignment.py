"""Alignment to rewards, compared with the tilted distributions of Gaussians."""

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from scipy.optimize import brentq

from plumbline.models import BuildContext
from plumbline.models.diffusion.diffusion import DiffusionSpec, EDMScheduleSpec
from plumbline.models.distributional._alignment import ratios, step_divergence, stepped
from plumbline.models.distributional.alignment import AlignmentSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.ddpm import DDPMSpec
from plumbline.samplers.tilted import TiltedSpec, tilt
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

SCHEDULE = {"kind": "edm", "sigma_min": 0.01, "sigma_max": 20.0}


def example():
    return xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A small diffusion model of N(0, I) in the plane."""
    torch.manual_seed(0)
    data = {"state": torch.randn(8000, 2)}
    network = {"kind": "mlp", "width": 48, "blocks": 2, "embedding": 16}
    model = DiffusionSpec(network=network, schedule=SCHEDULE).build(BuildContext(example()))
    model.prepare(data)
    spec = TrainingSpec(steps=1500, batch=256, learning_rate=3e-3, ema=0.99, accelerator="cpu")
    folder = tmp_path_factory.mktemp("pretrained")
    trained = train(model, InMemory(data), spec, seed=0, folder=folder, identity="test")
    return trained.eval().requires_grad_(False)


def test_a_step_of_the_chain_is_that_of_the_posterior():
    """u_s given u_t and x agrees with the textbook formula for a product of two Gaussians."""
    torch.manual_seed(0)
    ratio, after = torch.tensor(2.0), torch.tensor(0.5)
    u, x = torch.full((200_000, 1), 1.3), torch.full((200_000, 1), -0.4)
    drawn = stepped(u, x, ratio, after)
    # u_s = x + .5 e and u_t = u_s + sqrt(4 - .25) e.
    precision = 1 / 0.25 + 1 / 3.75
    assert float(drawn.mean()) == pytest.approx((-0.4 / 0.25 + 1.3 / 3.75) / precision, abs=4e-3)
    assert float(drawn.var()) == pytest.approx(1 / precision, rel=0.02)
    # Two Gaussians of that variance whose means differ by tau times the difference of the x.
    divergence = step_divergence(x, x + 0.3, ratio, after)
    apart = 0.3 * (1 - 0.25 / 4)
    torch.testing.assert_close(divergence, torch.full((200_000,), apart**2 * precision / 2))


def test_ratios_fall_to_the_least():
    found = ratios(EDMScheduleSpec().build(), 5, torch.device("cpu"))
    assert len(found) == 6
    assert float(found[0]) == pytest.approx(80.0)
    assert float(found[-1]) == pytest.approx(0.002)
    assert bool((found.diff() < 0).all())


def aligned(pretrained, rewards, tmp_path, steps=300, **keys):
    spec = AlignmentSpec(pretrained="q", rewards=rewards, steps=16, backpropagated=16, **keys)
    torch.manual_seed(0)
    model = spec.build(BuildContext(example(), models={"q": pretrained}))
    data = {"state": torch.randn(512, 2)}
    model.prepare(data)
    training = TrainingSpec(steps=steps, batch=128, learning_rate=2e-3, ema=0.97, accelerator="cpu")
    model = train(model, InMemory(data), training, seed=0, folder=tmp_path, identity="test").eval()
    torch.manual_seed(9)
    with torch.no_grad():
        batch = {"state": torch.zeros(4000, 2)}
        drawn = DDPMSpec(steps=16).draw(model, SamplingTask(batch)).state
    return model, drawn


# The optimal control of the chain for N(0, 1), whose denoiser is u / (1 + rho^2), one coordinate at a time.
# Its transitions are u' = A u + tau D + noise; moving the denoiser's mean by D costs w D^2; rewards are last.


def transitions():
    levels = (
        ratios(EDMScheduleSpec.model_validate(SCHEDULE).build(), 16, torch.device("cpu")).double().numpy()
    )
    before, after = levels[:-1], levels[1:]
    tau = 1 - (after / before) ** 2
    keep = 1 - tau + tau / (1 + before**2)
    return levels[0] ** 2, list(zip(keep, tau, 0.5 * (after**-2 - before**-2), after**2 * tau, strict=True))


def variance_under(weight):
    """Final variance and divergence under the reward -weight x^2, by a linear-quadratic regulator."""
    variance, steps = transitions()
    value, gains = weight, []
    for keep, tau, cost, _ in reversed(steps):
        gains.append(value * tau * keep / (cost + value * tau**2))
        value *= keep**2 * cost / (cost + value * tau**2)
    divergence = 0.0
    for (keep, tau, cost, noise), gain in zip(steps, reversed(gains), strict=True):
        divergence += cost * gain**2 * variance
        variance = (keep - tau * gain) ** 2 * variance + noise
    return variance, divergence


def mean_under(weight):
    """Final mean and divergence under the reward weight x."""
    _, steps = transitions()
    value, moves = weight, []
    for keep, tau, cost, _ in reversed(steps):
        moves.append(value * tau / (2 * cost))
        value *= keep
    mean, divergence = 0.0, 0.0
    for (keep, tau, cost, _), move in zip(steps, reversed(moves), strict=True):
        mean, divergence = keep * mean + tau * move, divergence + cost * move**2
    return mean, divergence


def test_a_linear_reward_moves_the_mean_by_its_multiplier(pretrained, tmp_path):
    """The mean moves by .8 stds of the pretrained chain, as under optimal control; x_2 keeps its mean."""
    rewards = {
        "first": {"attribute": {"kind": "linear", "weights": [1.0, 0.0]}, "level": 0.8},
        "second": {"attribute": {"kind": "linear", "weights": [0.0, 1.0]}, "level": -1.0},
    }
    ascent = {"kind": "ascent", "learning_rate": 0.05, "every": 1, "initial": 0.3}
    model, drawn = aligned(pretrained, rewards, tmp_path, multipliers=ascent)
    found = model.multipliers.values
    std = variance_under(0.0)[0] ** 0.5
    weight = brentq(lambda w: mean_under(w)[0] - 0.8 * std, 0, 5)
    assert float(found[0]) == pytest.approx(weight * std, rel=0.1)
    assert float(found[1]) == pytest.approx(0, abs=0.02)
    reward = (drawn[:, 0].mean() - model.means[0]) / model.stds[0]
    assert float(reward) == pytest.approx(0.8, abs=0.08)
    assert float(drawn[:, 1].mean()) == pytest.approx(0, abs=0.12)
    assert float(drawn[:, 0].std()) == pytest.approx(std, rel=0.1)
    with torch.no_grad():
        _, divergence = model.drawn({"state": torch.zeros(4000, 2)}, model.denoiser)
    # The continuous one is .8^2 / 2 = .32.
    assert float(divergence) == pytest.approx(mean_under(weight)[1], rel=0.15)


def test_a_quadratic_reward_narrows_the_distribution(pretrained, tmp_path):
    """Under q = N(0, v I), r = -|x|^2 has mean -2 v and std 2 v: half a std more halves the variance."""
    rewards = {"near": {"attribute": {"kind": "nearness", "centre": [0.0, 0.0]}, "level": 0.5}}
    ascent = {"kind": "ascent", "learning_rate": 0.05, "every": 1, "initial": 0.5}
    model, drawn = aligned(pretrained, rewards, tmp_path, multipliers=ascent)
    before, _ = variance_under(0.0)
    weight = brentq(lambda w: variance_under(w)[0] - before / 2, 0, 20)
    assert float(drawn.var(0).mean()) / before == pytest.approx(0.5, abs=0.08)
    assert float(model.multipliers.values) == pytest.approx(weight * 2 * before, rel=0.15)


def test_without_weight_on_rewards_it_stays(pretrained):
    rewards = {"first": {"attribute": {"kind": "linear", "weights": [1.0, 0.0]}, "level": 0.8}}
    spec = AlignmentSpec(
        pretrained="q",
        rewards=rewards,
        steps=4,
        backpropagated=2,
        multipliers={"kind": "fixed", "value": 0.0},
    )
    model = spec.build(BuildContext(example(), models={"q": pretrained}))
    data = {"state": torch.randn(64, 2)}
    model.prepare(data)
    loss, terms = model.loss(data)
    loss.backward()
    assert float(terms["divergence_pretrained"]) == 0
    assert all(float(p.grad.abs().max()) == 0 for p in model.denoiser.parameters() if p.grad is not None)


def test_gradients_go_back_through_the_last_steps_alone(pretrained):
    """With one backpropagated step, the reward's gradient is that of the last transition alone."""
    rewards = {"first": {"attribute": {"kind": "linear", "weights": [1.0, 0.0]}, "level": 0.8}}
    gradients = []
    for backpropagated in (1, 8):
        spec = AlignmentSpec(
            pretrained="q", rewards=rewards, steps=8, backpropagated=backpropagated,
            multipliers={"kind": "fixed", "value": 1.0},
        )  # fmt: skip
        model = spec.build(BuildContext(example(), models={"q": pretrained}))
        data = {"state": torch.randn(64, 2)}
        torch.manual_seed(0)
        model.prepare(data)
        torch.manual_seed(1)
        model.loss(data)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.denoiser.parameters()]).norm())
    assert 0 < float(gradients[0]) < 0.5 * float(gradients[1])


def test_more_gradients_than_steps_are_refused():
    rewards = {"first": {"attribute": {"kind": "linear", "weights": [1.0]}, "level": 0.8}}
    with pytest.raises(ValidationError, match=r"`backpropagated` \(9\) must be at most `steps` \(8\)"):
        AlignmentSpec(pretrained="q", rewards=rewards, steps=8, backpropagated=9)


def test_weights_of_another_length_are_refused(pretrained):
    rewards = {"first": {"attribute": {"kind": "linear", "weights": [1.0]}, "level": 0.8}}
    with pytest.raises(ValueError, match="`weights` has 1 entries, and samples have 2"):
        AlignmentSpec(pretrained="q", rewards=rewards).build(
            BuildContext(example(), models={"q": pretrained})
        )


def test_the_tilt_of_a_normal_number_is_its_level():
    """For q = N(0, I) and r = x, lambda = b, or 0 for a level that is met already.

    100,000 samples: .5 within .02.
    """
    rewards = np.random.default_rng(0).standard_normal((100_000, 2))
    multipliers, weights = tilt(rewards, np.array([0.5, -0.3]))
    assert multipliers == pytest.approx([0.5, 0.0], abs=0.02)
    assert weights @ rewards[:, 0] == pytest.approx(0.5, abs=1e-4)
    assert weights.sum() == pytest.approx(1)


def test_rewards_that_compete_have_the_tilt_of_their_covariance():
    """For r = R x with x = N(0, I): R R^T lambda = b where both constraints are active."""
    matrix = np.array([[1.0, 0.0], [-0.6, 0.8]])
    rewards = np.random.default_rng(1).standard_normal((200_000, 2)) @ matrix.T
    multipliers, _ = tilt(rewards, np.array([0.4, 0.3]))
    assert multipliers == pytest.approx(np.linalg.solve(matrix @ matrix.T, [0.4, 0.3]), rel=0.05)


def test_levels_beyond_all_draws_are_refused():
    with pytest.raises(ValueError, match=r"no weights of 50 samples reach the levels \[9.0\]"):
        tilt(np.random.default_rng(0).standard_normal((50, 1)), np.array([9.0]))


def test_resampled_draws_reach_the_level(pretrained):
    """2,000 of 32,000 samples: a std of the mean of .022, and .006 for the pool; .1 is over three of them."""
    spec = AlignmentSpec(
        pretrained="q",
        rewards={"right": {"attribute": {"kind": "linear", "weights": [1.0, 0.0]}, "level": 0.5}},
    )
    model = spec.build(BuildContext(example(), models={"q": pretrained}))
    batch = {"state": torch.zeros(2000, 2)}
    model.prepare(batch)
    torch.manual_seed(0)
    sampler = TiltedSpec(base={"kind": "ddpm", "steps": 20})
    found = sampler.draw(model, SamplingTask(batch)).by_name()
    with torch.no_grad():
        assert float(model.rewards(found["state"].float())) == pytest.approx(0.5, abs=0.1)
    assert float(found["multiplier_right"][0]) == pytest.approx(0.5, abs=0.1)
    # A tilt by .5 has the effective fraction exp(-.25) of samples.
    assert float(found["effective_fraction"][0]) == pytest.approx(np.exp(-0.25), abs=0.05)
