"""Products of experts: powers and samples compared with the closed forms of Gaussians."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm

from plumbline.datasets.mixture import MixtureSpec
from plumbline.models import BuildContext
from plumbline.models.distributional._multiplier_specs import SimplexAscentSpec
from plumbline.models.distributional._multipliers import onto_simplex
from plumbline.models.distributional.product import ProductSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.annealed_langevin import AnnealedLangevinSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

LANGEVIN = {"kind": "annealed_langevin", "levels": 40, "steps": 5, "step_size": 0.1}


def example():
    return xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})


def product(experts, tmp_path, steps, **keys):
    named = {f"e{i}": one for i, one in enumerate(experts)}
    model = ProductSpec(experts=tuple(named), sampler=LANGEVIN, **keys).build(
        BuildContext(example(), models=named)
    )
    data = {"state": torch.zeros(256, 2)}
    model.prepare(data)
    spec = TrainingSpec(steps=steps, batch=256, ema=0.9, accelerator="cpu")
    return train(model, InMemory(data), spec, seed=0, folder=tmp_path, identity="test").eval()


def drawn(model, **keys):
    torch.manual_seed(1)
    batch = {"state": torch.zeros(4000, 2)}
    return AnnealedLangevinSpec.model_validate(LANGEVIN | keys).draw(model, SamplingTask(batch)).state


def test_equal_weights_give_the_product_of_gaussians(tmp_path, exact_gaussian):
    """The precision is sum l_i / s_i^2 and the mean is precision-weighted, for spaces of different scale.

    The widths differ, so that the flow of the product is wrong, and Langevin dynamics needs more steps.
    """
    experts = [exact_gaussian([0.0, 0.0], 1.0), exact_gaussian([1.5, 0.3], 0.5)]
    model = product(experts, tmp_path, steps=1, weights={"kind": "equal"})
    torch.testing.assert_close(model.denoiser.multipliers.values, torch.full((2,), 0.5))
    precision = 0.5 / 1.0 + 0.5 / 0.25
    mean = np.array([1.5, 0.3]) * 0.5 / 0.25 / precision
    samples = drawn(model, steps=40, step_size=0.2)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(samples.var(0), 1 / precision, rtol=0.12)


def test_powers_of_gaussians_of_one_width_lead_to_the_smallest_ball(tmp_path, exact_gaussian):
    """N((1, 0)), N((-1, -.2)), N((-1, .2)), variance .05: powers (.495, .2525, .2525), divergences 10.2."""
    experts = [exact_gaussian(mean, math.sqrt(0.05)) for mean in ([1.0, 0.0], [-1.0, -0.2], [-1.0, 0.2])]
    ascent = {"kind": "simplex_ascent", "learning_rate": 2e-3, "every": 1}
    model = product(experts, tmp_path, steps=50, weights=ascent, smoothing=0.05)
    found = model.denoiser.multipliers.values.tolist()
    assert found == pytest.approx([0.495, 0.2525, 0.2525], abs=0.03)
    samples = drawn(model)
    np.testing.assert_allclose(samples.mean(0), [-0.01, 0.0], atol=0.06)
    np.testing.assert_allclose(samples.var(0), 0.05, rtol=0.2)


def test_an_expert_that_is_near_anyway_has_no_power(tmp_path, exact_gaussian):
    """Agrees with the powers that maximise the dual function, which is known for Gaussians."""
    distributions = [([0.0, 0.0], 0.6), ([0.1, 0.0], 0.8), ([2.0, 0.0], 0.6)]

    def dual(raw):
        powers = np.exp(raw) / np.exp(raw).sum()
        precisions = np.array([1 / s**2 for _, s in distributions])
        means = np.array([m for m, _ in distributions])
        total = (powers * precisions).sum()
        mean = (powers * precisions) @ means / total
        log_integral = (
            math.log(2 * math.pi / total)
            - 0.5 * ((powers * precisions) @ (means**2).sum(1) - total * (mean**2).sum())
            - sum(p * math.log(2 * math.pi * s**2) for p, (_, s) in zip(powers, distributions, strict=True))
        )
        return log_integral

    best = minimize(dual, np.zeros(3), method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6}).x
    truth = np.exp(best) / np.exp(best).sum()
    assert truth[1] < 1e-3
    ascent = {"kind": "simplex_ascent", "learning_rate": 0.03, "every": 1}
    model = product(
        [exact_gaussian(*distribution) for distribution in distributions], tmp_path, steps=50, weights=ascent
    )
    assert model.denoiser.multipliers.values.tolist() == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]), ([2.0, 0.0], [1.0, 0.0]), ([0.5, 0.5, -3.0], [0.5, 0.5, 0.0])],
)
def test_the_nearest_point_of_the_simplex(given, nearest):
    torch.testing.assert_close(onto_simplex(torch.tensor(given)), torch.tensor(nearest))


def test_no_point_of_the_simplex_is_nearer():
    torch.manual_seed(0)
    for x in torch.randn(20, 4, dtype=torch.float64):
        found = onto_simplex(x)
        assert float(found.sum()) == pytest.approx(1)
        assert bool((found >= 0).all())
        others = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((2000,))
        assert float((x - found).norm()) <= float((x - others).norm(dim=1).min()) + 1e-12


def test_multipliers_on_the_simplex_stay_there():
    multipliers = SimplexAscentSpec(learning_rate=0.1, every=1).build(3)
    for _ in range(50):
        multipliers.update(torch.tensor([1.0, 5.0, 0.0]))
    torch.testing.assert_close(multipliers.values, torch.tensor([0.0, 1.0, 0.0]))


# The mixtures on which experts are trained.

MIXTURE = {
    "means": [[0.0, 0.0], [2.0, -1.0]], "stds": [0.5, 0.2], "weights": [1.0, 3.0], "parts": 1,
    "splits": {"train": 20000, "validation": 2, "test": 2},
}  # fmt: skip


def test_a_mixture_has_the_moments_and_the_density_that_it_says():
    spec = MixtureSpec.model_validate(MIXTURE)
    points = spec.draw_split("train")["state"].values.astype(float)
    np.testing.assert_allclose(points.mean(0), [1.5, -0.75], atol=0.03)
    assert (spec.draw_split("train")["label"].values == 1).mean() == pytest.approx(0.75, abs=0.01)
    at = np.array([[0.3, 0.1], [2.1, -1.0]])
    truth = 0.25 * multivariate_normal([0, 0], 0.25).pdf(at) + 0.75 * multivariate_normal([2, -1], 0.04).pdf(
        at
    )
    np.testing.assert_allclose(np.exp(spec.log_density(at)), truth)


def test_a_mixture_of_one_is_a_gaussian():
    splits = {"train": 2, "validation": 2, "test": 2}
    spec = MixtureSpec(means=[[1.0, 2.0]], stds=[3.0], parts=1, splits=splits)
    truth = norm(1, 3).logpdf(0.5) + norm(2, 3).logpdf(0.7)
    assert spec.log_density(np.array([[0.5, 0.7]]))[0] == pytest.approx(truth)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"`stds` has 1 entries, and `means` 2"):
        MixtureSpec.model_validate(MIXTURE | {"stds": [0.5]})


def test_samples_that_divergences_are_estimated_on_are_drawn_by_denoising():
    with pytest.raises(ValueError, match="`prior` does not draw by denoising"):
        ProductSpec(experts=["a", "b"], sampler={"kind": "prior"})


def test_conditional_experts_are_asked_for_what_each_sample_is_drawn_for():
    """Equal powers of N(c, .05) and N(-c, .05) give N(0, .05) for any c; of N(c, .05) twice, N(c, .05)."""
    torch.manual_seed(0)
    condition = torch.randn(4000, 1)
    noise = math.sqrt(0.05) * torch.randn(4000, 2)
    example = xr.Dataset(
        {"state": (("sample", "component"), np.zeros((1, 2), np.float32)),
         "condition": (("sample", "given"), np.zeros((1, 1), np.float32))}
    )  # fmt: skip
    experts = {}
    for name, sign in (("along", 1.0), ("against", -1.0)):
        expert = FittedGaussianSpec(scaling="global").build(BuildContext(example))
        expert.prepare({"state": sign * condition + noise, "condition": condition})
        experts[name] = expert.eval().requires_grad_(False)
    asked = torch.linspace(-1, 1, 1000)[:, None]
    for names, slope in ((("along", "against"), 0.0), (("along", "along"), 1.0)):
        named = {f"e{i}": experts[name] for i, name in enumerate(names)}
        model = ProductSpec(experts=tuple(named), weights={"kind": "equal"}).build(
            BuildContext(example, models=named)
        )
        batch = {"state": torch.zeros(1000, 2), "condition": asked}
        torch.manual_seed(1)
        x = AnnealedLangevinSpec.model_validate(LANGEVIN).draw(model, SamplingTask(batch)).state
        found = (x * asked).mean(0) / (asked**2).mean()
        np.testing.assert_allclose(found, slope, atol=0.08)
        loss, _ = model.loss(batch)
        assert math.isfinite(float(loss))
