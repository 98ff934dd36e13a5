"""Dual training: divergences from denoisers compared with quadrature, multipliers with the optimal ones."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from scipy.optimize import brentq

from plumbline.datasets.gaussian import GaussianSpec
from plumbline.models import BuildContext, Denoising, MirrorMap
from plumbline.models._running_regression import RunningRegression
from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._shared_space import SharedSpace
from plumbline.models.diffusion.diffusion import DiffusionSpec, EDMScheduleSpec
from plumbline.models.distributional._divergences import divergence, gaussian_cross_entropy, gaussian_mean
from plumbline.models.distributional._multiplier_specs import DualAscentSpec, SimplexAscentSpec
from plumbline.models.distributional.dual_diffusion import DualDiffusionSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.models.mirror.analytic_mirror import AnalyticMirrorSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.heun import HeunSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

SCHEDULE = EDMScheduleSpec().build()
SMOOTHING = 0.1

# Ground truth: mixtures of Gaussians on the line and in the plane, with exact posterior means.


class Mixture:
    """sum_k w_k N(m_k, s_k^2 I)."""

    def __init__(self, weights, means, stds):
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.variances = torch.as_tensor(stds, dtype=torch.float64) ** 2

    def log_parts(self, x, ratio):
        variances = self.variances + torch.as_tensor(ratio, dtype=torch.float64).reshape(-1, 1) ** 2
        squares = (x[:, None] - self.means).square().sum(-1)
        size = self.means.shape[1]
        return self.weights.log() - squares / (2 * variances) - 0.5 * size * (2 * math.pi * variances).log()

    def mean(self, x_t, t):
        """E[x | x_t] for the variance-exploding process."""
        _, ratio = SCHEDULE(t)
        fractions = self.log_parts(x_t, ratio).softmax(1)
        gain = self.variances / (self.variances + ratio[:, None] ** 2)
        parts = self.means + gain[..., None] * (x_t[:, None] - self.means)
        return (fractions[..., None] * parts).sum(1)

    def draw(self, count):
        chosen = torch.multinomial(self.weights, count, replacement=True)
        return self.means[chosen] + self.variances[chosen, None].sqrt() * torch.randn(
            count, self.means.shape[1], dtype=torch.float64
        )

    def smoothed(self, grid):
        return self.log_parts(torch.as_tensor(grid)[:, None], SMOOTHING).logsumexp(1).exp().numpy()


MAIN = Mixture([0.95, 0.05], [[-1.5], [1.5]], [0.8, 0.6])
RARE = Mixture([1.0], [[1.5]], [0.6])
GRID = np.linspace(-8, 8, 20_001)


def mixed(multiplier):
    """The optimal model (q + lambda q_1) / (1 + lambda)."""
    weights = torch.tensor([0.95, 0.05 + multiplier], dtype=torch.float64)
    return Mixture(weights / weights.sum(), MAIN.means, MAIN.variances.sqrt())


def by_quadrature(q, p):
    a, b = q.smoothed(GRID), p.smoothed(GRID)
    return np.trapezoid(a * np.log(a / b), GRID)


def estimated(q, p, oracle, count):
    return divergence(SCHEDULE, q.draw(count), p.mean, oracle.mean, SMOOTHING)


@pytest.mark.parametrize("multiplier", [0.0, 0.3, 2.0])
def test_the_divergence_is_that_of_quadrature(multiplier):
    """Agrees within 4 standard errors."""
    p = mixed(multiplier)
    found = estimated(RARE, p, RARE, 200_000)
    error = float(found.std()) / math.sqrt(len(found))
    assert error < 0.03
    assert float(found.mean()) == pytest.approx(by_quadrature(RARE, p), abs=4 * error)


def test_the_divergence_of_gaussians_in_space_is_the_closed_form():
    a, b = Mixture([1.0], [[0.7, 0.0, -0.2]], [0.5]), Mixture([1.0], [[-0.4, 0.3, 0.0]], [0.9])
    found = estimated(a, b, a, 200_000)
    s, r = 0.5**2 + SMOOTHING**2, 0.9**2 + SMOOTHING**2
    apart = float((a.means - b.means).square().sum())
    truth = 0.5 * (3 * s / r + apart / r - 3 + 3 * math.log(r / s))
    assert float(found.mean()) == pytest.approx(truth, abs=4 * float(found.std()) / math.sqrt(len(found)))


def test_over_another_oracle_it_is_the_difference_of_two_divergences():
    p, other = mixed(0.0), mixed(1.0)
    found = estimated(RARE, p, other, 200_000)
    truth = by_quadrature(RARE, p) - by_quadrature(RARE, other)
    assert float(found.mean()) == pytest.approx(truth, abs=4 * float(found.std()) / math.sqrt(len(found)))


def cross_entropies(q, p, count):
    x = q.draw(count)
    against_gaussian = divergence(
        SCHEDULE, x, p.mean, lambda x_t, t: gaussian_mean(SCHEDULE, x_t, t), SMOOTHING
    )
    return against_gaussian + gaussian_cross_entropy(x, SMOOTHING)


@pytest.mark.parametrize("multiplier", [0.0, 2.0])
def test_the_cross_entropy_is_that_of_quadrature(multiplier):
    """Agrees within 4 standard errors."""
    p = mixed(multiplier)
    found = cross_entropies(MAIN, p, 200_000)
    truth = -np.trapezoid(MAIN.smoothed(GRID) * np.log(p.smoothed(GRID)), GRID)
    error = float(found.std()) / math.sqrt(len(found))
    assert error < 0.03
    assert float(found.mean()) == pytest.approx(truth, abs=4 * error)


def ascended(threshold, resilience=None, steps=3000):
    """The multiplier, averaged over the last quarter, if the model is optimal at every step."""
    ascent = DualAscentSpec(learning_rate=0.01, resilience=resilience).build(1)
    seen = []
    for _ in range(steps):
        p = mixed(float(ascent.values))
        ascent.update(estimated(RARE, p, RARE, 64).mean().float()[None] - threshold)
        seen.append(float(ascent.values))
    return np.mean(seen[-steps // 4 :])


@pytest.mark.parametrize("threshold", [1.2, 2.0])
def test_ascent_with_exact_denoisers_finds_the_optimal_multiplier(threshold):
    truth = brentq(lambda m: by_quadrature(RARE, mixed(m)) - threshold, 0, 50)
    assert ascended(threshold) == pytest.approx(truth, abs=0.02)


def test_a_constraint_that_holds_does_not_bind():
    assert by_quadrature(RARE, MAIN) < 3.0
    assert ascended(3.5) < 0.002


def test_the_resilient_multiplier():
    truth = brentq(lambda m: by_quadrature(RARE, mixed(m)) - 1.2 - m / 0.5, 0, 50)
    assert ascended(1.2, resilience=0.5) == pytest.approx(truth, abs=0.02)


# The mixture with the least largest cross-entropy is the one with the largest entropy.


def heaviest(sets, steps=3000):
    """The weights of sets with exact denoisers, averaged over the last quarter."""
    ascent = SimplexAscentSpec(learning_rate=0.01).build(len(sets))
    seen = []
    for _ in range(steps):
        weights = ascent.values.double()
        parts = [one.weights * weight for one, weight in zip(sets, weights, strict=True)]
        p = Mixture(
            torch.cat(parts).clamp(min=1e-9),
            torch.cat([one.means for one in sets]),
            torch.cat([one.variances for one in sets]).sqrt(),
        )
        ascent.update(torch.stack([cross_entropies(one, p, 64).mean() for one in sets]).float())
        seen.append(ascent.values.clone())
    return torch.stack(seen[-steps // 4 :]).mean(0).numpy()


def test_sets_that_do_not_overlap_weigh_the_exponential_of_their_entropy():
    """One mode and two of the same width get a third and two thirds; divergences would give a half each."""
    two = Mixture([0.5, 0.5], [[2.0], [5.0]], [0.3, 0.3])
    assert heaviest([Mixture([1.0], [[-3.0]], [0.3]), two]) == pytest.approx([1 / 3, 2 / 3], abs=0.02)


def test_sets_that_overlap_weigh_what_makes_the_entropy_largest():
    narrow, wide = Mixture([1.0], [[1.5]], [0.4]), Mixture([1.0], [[0.0]], [0.8])
    a, b = narrow.smoothed(GRID), wide.smoothed(GRID)

    def slope(weight):
        p = weight * a + (1 - weight) * b
        return np.trapezoid((a - b) * np.log(p), GRID)

    truth = brentq(slope, 1e-6, 1 - 1e-6)
    assert heaviest([narrow, wide])[0] == pytest.approx(truth, abs=0.03)


# A network: five Gaussians on a ring, one of them rare.

ANGLES = 2 * np.pi * np.arange(5) / 5
CENTRES = 1.5 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def ring(count=4000):
    generator = np.random.default_rng(0)
    label = generator.choice(5, count, p=[0.24, 0.24, 0.24, 0.24, 0.04])
    state = CENTRES[label] + 0.2 * generator.standard_normal((count, 2))
    return {"state": torch.as_tensor(state, dtype=torch.float32), "label": torch.as_tensor(label)}


def example():
    return xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})


LOG_FIVE = math.log(5)


def spec(threshold=LOG_FIVE, **keys):
    return DualDiffusionSpec(
        network={"kind": "mlp", "width": 64, "blocks": 2, "embedding": 16},
        sets={"rare": {"where": {"label": [4]}, "threshold": threshold}},
        **keys,
    )


def trained(model, tmp_path, steps=2500):
    data = ring()
    model.prepare(data)
    training = TrainingSpec(steps=steps, batch=128, learning_rate=2e-3, ema=0.995, accelerator="cpu")
    return train(model, InMemory(data), training, seed=0, folder=tmp_path, identity="test").eval()


def fraction_of_the_rare(model, count=4000):
    torch.manual_seed(3)
    batch = {"state": torch.zeros(count, 2)}
    with torch.no_grad():
        drawn = HeunSpec(steps=20).draw(model, SamplingTask(batch)).state
    nearest = torch.cdist(drawn, torch.as_tensor(CENTRES)).argmin(1)
    return float((nearest == 4).double().mean())


def test_a_trained_network_finds_the_multiplier_and_draws_the_share(tmp_path):
    """A threshold of log 5 nats requires a fifth.

    In closed form lambda = (.2 - .04) / .8 = .2; tolerances are a seventh and a sixth.
    """
    torch.manual_seed(0)
    ascent = {"kind": "ascent", "learning_rate": 2e-3, "every": 2, "start": 200}
    model = trained(spec(multipliers=ascent, smoothing=0.1).build(BuildContext(example())), tmp_path)
    assert float(model.multipliers.values) == pytest.approx(0.2, abs=0.03)
    assert fraction_of_the_rare(model) == pytest.approx(0.2, abs=0.035)


def test_in_the_space_of_a_map_the_shares_are_met_and_every_sample_is_in_the_set(tmp_path):
    """The ring within a ball: multiplier and fraction as above, within .05, and no sample outside."""
    torch.manual_seed(0)
    ball = AnalyticMirrorSpec(set={"kind": "ball", "radius": 2.5}).build(BuildContext(example()))
    ascent = {"kind": "ascent", "learning_rate": 2e-3, "every": 2, "start": 200}
    within = spec(multipliers=ascent, smoothing=0.1, space="ball")
    assert within.depends_on() == {"ball": MirrorMap}
    model = trained(within.build(BuildContext(example(), models={"ball": ball})), tmp_path)
    assert float(model.multipliers.values) == pytest.approx(0.2, abs=0.05)
    assert fraction_of_the_rare(model) == pytest.approx(0.2, abs=0.05)
    with torch.no_grad():
        drawn = HeunSpec(steps=20).draw(model, SamplingTask({"state": torch.zeros(500, 2)})).state
    assert float(drawn.norm(dim=1).max()) <= 2.5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"sets": {"rare": {"where": {"label": [4]}, "threshold": 1.0, "oracle": "known"}}},
            "'known' cannot be evaluated",
        ),
        (
            {
                "sets": {"rare": {"where": {"label": [4]}}},
                "objective": "largest_cross_entropy",
                "multipliers": {"kind": "simplex_ascent"},
            },
            "`space`: the cross-entropy of samples is not that of their images",
        ),
    ],
)
def test_what_the_space_of_a_map_does_not_tell_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        DualDiffusionSpec(network={"kind": "mlp"}, space="ball", **keys)


def test_without_a_binding_constraint_the_rare_stay_rare(tmp_path):
    torch.manual_seed(0)
    model = trained(spec(threshold=20.0).build(BuildContext(example())), tmp_path, steps=1200)
    assert float(model.multipliers.values) == 0
    assert fraction_of_the_rare(model) == pytest.approx(0.04, abs=0.02)


def test_closed_form_multipliers_from_the_data():
    model = spec(multipliers={"kind": "disjoint"}).build(BuildContext(example()))
    data = ring()
    model.prepare(data)
    fraction = float((data["label"] == 4).double().mean())
    assert float(model.multipliers.values) == pytest.approx((0.2 - fraction) / 0.8, rel=1e-5)


# Sets and oracles.


def test_an_oracle_that_is_the_model_itself_finds_no_divergence():
    torch.manual_seed(0)
    known = DiffusionSpec(network={"kind": "mlp", "width": 16, "blocks": 1}).build(BuildContext(example()))
    data = ring(400)
    known.prepare(data)
    named = DualDiffusionSpec(
        network={"kind": "mlp", "width": 16, "blocks": 1},
        sets={"rare": {"where": {"label": [4]}, "threshold": 1.0, "oracle": "known"}},
    )
    assert named.depends_on() == {"known": Denoising}
    model = named.build(BuildContext(example(), models={"known": known}))
    model.prepare(data)
    model.denoiser.load_state_dict(known.denoiser.state_dict())
    _, terms = model.loss(data)
    assert float(terms["divergence_rare"]) == 0


def test_an_oracle_in_a_space_of_another_scale_says_the_same():
    """A fitted Gaussian is exact in any common scale.

    Separately scaled coordinates do not share one space.
    """
    data, means = ring(400), []
    for factor in (1.0, 3.0):
        known = FittedGaussianSpec(scaling="global").build(BuildContext(example()))
        known.prepare({"state": data["state"]})
        with torch.no_grad():
            known.space.scale.mul_(factor)
            known.space.mean.add_(factor - 1)
            z = known.space.encode(data["state"].double())
            regression = RunningRegression()
            regression.add(z.new_zeros(len(z), 0), z)
            known.denoiser.fit(regression)
        space = Standardisation((2,), "global")
        space.fit(data["state"])
        x_t, t = space.encode(data["state"][:50]), torch.linspace(0.2, 0.6, 50)
        means.append(SharedSpace(known, "known").mean(space, SCHEDULE, x_t, t))
    torch.testing.assert_close(means[0], means[1], atol=1e-4, rtol=1e-4)
    own = FittedGaussianSpec(scaling="per_feature").build(BuildContext(example()))
    own.prepare({"state": data["state"] * torch.tensor([1.0, 5.0])})
    with pytest.raises(ValueError, match="'known' scales coordinates in another way"):
        SharedSpace(own, "known").mean(space, SCHEDULE, x_t, t)


def test_a_set_that_is_a_dataset_of_its_own():
    other = GaussianSpec(dimension=2, equalities=1, splits={"train": 64, "validation": 2, "test": 2})
    named = DualDiffusionSpec(
        network={"kind": "mlp", "width": 16, "blocks": 1},
        sets={"other": {"dataset": other, "threshold": 1.0}},
    )
    model = named.build(BuildContext(example()))
    model.prepare(ring(100))
    assert model.sets["other"]["state"].shape == (64, 2)
    assert math.isfinite(float(model.loss(ring(100))[0]))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"label": [7]}, r"no training sample belongs to this set"),
        ({"digit": [4]}, r"no variable 'digit' with one number per sample; it has \['label'\]"),
    ],
)
def test_sets_that_are_not_there_are_named(where, message):
    model = DualDiffusionSpec(
        network={"kind": "mlp", "width": 16, "blocks": 1}, sets={"rare": {"where": where, "threshold": 1.0}}
    ).build(BuildContext(example()))
    with pytest.raises(ValueError, match=message):
        model.prepare(ring(100))


def test_a_set_has_one_source():
    with pytest.raises(ValidationError, match="needs one of `where`, `dataset` and `drawn`"):
        DualDiffusionSpec(network={"kind": "mlp"}, sets={"rare": {"threshold": 1.0}})


# Mixtures of trained models.


def gaussian_expert(mean):
    torch.manual_seed(0)
    model = FittedGaussianSpec(scaling="global").build(BuildContext(example()))
    model.prepare({"state": torch.tensor(mean) + 0.3 * torch.randn(4000, 2)})
    return model.eval().requires_grad_(False)


def test_the_mixture_that_is_nearest_to_all_has_the_twins_share_one_half(tmp_path):
    """Two of three experts are equal.

    Equal weights leave the third log 3 nats away; a weight of one half makes it log 2.
    """
    experts = {"left": gaussian_expert([-2.0, 0.0]), "right": gaussian_expert([2.0, 0.0])}
    sampler = {"kind": "heun", "steps": 10}
    sets = {
        name: {"drawn": {"model": model, "sampler": sampler, "samples": 1000}}
        for name, model in {"alone": "left", "twin": "right", "other": "right"}.items()
    }
    composed = DualDiffusionSpec(
        network={"kind": "mlp", "width": 64, "blocks": 2, "embedding": 16},
        objective="largest_divergence", sets=sets, smoothing=0.1,
        multipliers={"kind": "simplex_ascent", "learning_rate": 2e-3, "every": 2, "start": 200},
    )  # fmt: skip
    assert composed.depends_on() == {"left": Denoising, "right": Denoising}
    torch.manual_seed(0)
    model = composed.build(BuildContext(example(), models=experts))
    data = {"state": torch.randn(500, 2)}
    model.prepare(data)
    training = TrainingSpec(steps=1500, batch=8, learning_rate=2e-3, ema=0.99, accelerator="cpu")
    model = train(model, InMemory(data), training, seed=0, folder=tmp_path, identity="test").eval()
    alone, *twins = model.multipliers.values.tolist()
    assert alone == pytest.approx(0.5, abs=0.05)
    assert sum(twins) == pytest.approx(0.5, abs=0.05)
    with torch.no_grad():
        batch = {"state": torch.zeros(2000, 2)}
        drawn = HeunSpec(steps=20).draw(model, SamplingTask(batch)).state
    assert float((drawn[:, 0] < 0).double().mean()) == pytest.approx(0.5, abs=0.07)


def test_a_network_finds_the_mixture_of_the_largest_entropy(tmp_path):
    """One point of the ring against three: weights of a quarter and three quarters, within .07."""
    torch.manual_seed(0)
    composed = DualDiffusionSpec(
        network={"kind": "mlp", "width": 64, "blocks": 2, "embedding": 16},
        objective="largest_cross_entropy", smoothing=0.1,
        sets={"one": {"where": {"label": [0]}}, "three": {"where": {"label": [1, 2, 3]}}},
        multipliers={"kind": "simplex_ascent", "learning_rate": 2e-3, "every": 2, "start": 200},
    )  # fmt: skip
    assert composed.depends_on() == {}
    assert composed.bounds() == {"one": ("cross_entropy_one", None), "three": ("cross_entropy_three", None)}
    model = trained(composed.build(BuildContext(example())), tmp_path, steps=1500)
    assert model.multipliers.values.tolist() == pytest.approx([0.25, 0.75], abs=0.07)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"threshold": None}, r"`sets\.rare\.threshold` is required where the objective is `data`"),
        (
            {"multipliers": {"kind": "equal"}},
            r"the objective `data` goes with `ascent`, `proportional_integral`, `fixed` or `disjoint`",
        ),
        ({"objective": "largest_divergence"}, r"`sets\.rare\.threshold` has no meaning"),
        (
            {"objective": "largest_divergence", "threshold": None},
            r"`largest_divergence` goes with `simplex_ascent` or `equal`",
        ),
        (
            {"unit": "loss", "objective": "largest_divergence", "threshold": None,
             "multipliers": {"kind": "equal"}},
            "`unit: loss` goes with the objective `data`",
        ),
        ({"unit": "loss", "multipliers": {"kind": "disjoint"}}, "`disjoint` requires thresholds in nats"),
    ],
)  # fmt: skip
def test_multipliers_that_do_not_go_with_the_objective_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        spec(**keys)


def test_a_controller_can_be_averaged_saved_and_resumed(tmp_path):
    """Moving averages and saved states contain its buffers, all of which are finite from the start."""
    multipliers = {"kind": "proportional_integral", "learning_rate": 0.01, "start": 5}
    model = spec(multipliers=multipliers).build(BuildContext(example()))
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())
    found = trained(model, tmp_path, steps=20)
    assert all(bool(torch.isfinite(value).all()) for value in found.state_dict().values())
    again = trained(spec(multipliers=multipliers).build(BuildContext(example())), tmp_path, steps=20)
    torch.testing.assert_close(again.multipliers.averages, found.multipliers.averages, rtol=0, atol=0)


def test_thresholds_of_the_loss_move_the_multiplier_by_the_loss():
    """The constrained quantity is the mean denoising loss of the set, without an oracle."""
    torch.manual_seed(0)
    ascent = {"kind": "ascent", "learning_rate": 0.5, "every": 1}
    model = spec(0.2, unit="loss", multipliers=ascent).build(BuildContext(example()))
    model.prepare(ring())
    assert model.learned == [] and len(model.oracles) == 0
    _, terms = model.loss(ring(128))
    model.after_step(terms)
    assert set(terms) == {"denoising", "set_loss_rare", "multiplier_rare"}
    expected = 0.5 * (float(terms["set_loss_rare"]) - 0.2)
    assert expected > 0 and float(model.multipliers.values) == pytest.approx(expected)
    # The mean loss of the set, by many noise levels and the same denoiser.
    rare = ring()
    rare = {name: value[rare["label"] == 4] for name, value in rare.items()}
    with torch.no_grad():
        z = model.space.encode(rare["state"]).repeat(40, 1)
        (whole,) = model._denoising_losses([({"state": z}, None)])
        drawn = torch.stack([model.loss(ring(32))[1]["set_loss_rare"] for _ in range(400)])
    # The mean of 400 batches lies within five of its standard errors.
    assert abs(float(drawn.mean() - whole)) < 5 * float(drawn.std()) / 20


def test_a_cross_entropy_needs_no_oracle():
    with pytest.raises(ValidationError, match=r"`sets\.rare\.oracle` has no meaning"):
        DualDiffusionSpec(
            network={"kind": "mlp"},
            objective="largest_cross_entropy",
            multipliers={"kind": "simplex_ascent"},
            sets={"rare": {"where": {"label": [4]}, "oracle": "known"}},
        )
