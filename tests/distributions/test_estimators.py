"""Gradient estimators compared with the closed form: which are unbiased, and what the others miss.

The mean of S gradients is compared with the truth by a z-test of each component at 5 standard errors: a false
alarm in under 1e-5 of runs for the twenty components of a test.
"""

import pytest
import torch

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.constrained_poisson import ConstrainedPoisson
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.losses import AbsoluteLoss, SquaredLoss
from plumbline.linalg.covariance import Diagonal
from plumbline.spec import kinds, of_kind

DOUBLE = torch.float64
SAMPLES = 20_000
PATHWISE = ("marginal_expectation", "reparameterised", "straight_through", "projection")


def gradients(kind: str, loss_kind, feasible_mean: bool = False, **settings) -> dict[str, torch.Tensor]:
    """Single-sample gradients (SAMPLES, n) in the mean and in the variance, for one batch of parameters."""
    g = torch.Generator().manual_seed(4)
    n = 6
    constraint = LinearEquality(torch.randn(2, n, generator=g), torch.randn(2, generator=g))
    mean = torch.randn(n, generator=g, dtype=DOUBLE)
    mean = constraint.project(mean[None])[0] if feasible_mean else mean
    variance = torch.rand(n, generator=g, dtype=DOUBLE) + 0.5
    loss = loss_kind(torch.randn(n, generator=g, dtype=DOUBLE))
    parameters = [p.expand(SAMPLES, n).clone().requires_grad_() for p in (mean, variance)]
    q = ConstrainedGaussian(parameters[0], Diagonal(parameters[1]), constraint)
    surrogate = of_kind(EstimatorSpec, {"kind": kind, **settings}).surrogate(q, loss)
    assert surrogate.shape == (1, SAMPLES)
    return dict(zip(("mean", "variance"), torch.autograd.grad(surrogate.sum(), parameters), strict=True))


def score(estimates: torch.Tensor, truth: torch.Tensor) -> float:
    """The largest difference between the mean estimate and the truth, in standard errors."""
    error = estimates.mean(0) - truth
    return float((error.abs() / (estimates.std(0) / len(estimates) ** 0.5).clamp(min=1e-12)).max())


@pytest.mark.parametrize("loss", [AbsoluteLoss, SquaredLoss])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("reparameterised", {}), ("score_function", {}), ("score_function", {"baseline_draws": 4})],
)
def test_these_are_unbiased_in_mean_and_variance(kind, settings, loss):
    truth = gradients("closed_form", loss)
    found = gradients(kind, loss, **settings)
    for parameter in ("mean", "variance"):
        assert score(found[parameter], truth[parameter][0]) < 5


@pytest.mark.parametrize("loss", [AbsoluteLoss, SquaredLoss])
def test_the_marginal_expectation_is_exact_for_the_mean_and_biased_for_the_variance(loss):
    truth = gradients("closed_form", loss)
    found = gradients("marginal_expectation", loss)
    assert score(found["mean"], truth["mean"][0]) < 5
    assert score(found["variance"], truth["variance"][0]) > 20


def test_the_marginal_expectation_equals_reparameterisation_in_the_mean():
    """Both propagate the loss's derivative back through the same projector, sample by sample."""
    torch.manual_seed(0)
    a = gradients("marginal_expectation", AbsoluteLoss)["mean"]
    torch.manual_seed(0)
    b = gradients("reparameterised", AbsoluteLoss)["mean"]
    torch.testing.assert_close(a, b)


def test_the_marginal_expectation_gives_the_variances_nothing_where_the_mean_is_feasible():
    """The derivative of the conditional mean with respect to the variances has the factor k - A m."""
    truth = gradients("closed_form", SquaredLoss, feasible_mean=True)["variance"]
    found = gradients("marginal_expectation", SquaredLoss, feasible_mean=True)["variance"]
    assert truth[0].abs().min() > 0.05
    assert found.abs().max() < 1e-10


@pytest.mark.parametrize("kind", ["straight_through", "projection"])
def test_these_are_biased(kind):
    truth = gradients("closed_form", SquaredLoss)
    found = gradients(kind, SquaredLoss)
    assert max(score(found[p], truth[p][0]) for p in truth) > 20


def test_a_baseline_lowers_the_variance_of_the_score_function():
    plain = gradients("score_function", SquaredLoss)["mean"].var(0)
    with_baseline = gradients("score_function", SquaredLoss, baseline_draws=4)["mean"].var(0)
    assert (with_baseline < 0.7 * plain).all()


def test_what_the_loss_depends_on_is_differentiated_by_all():
    """Every estimator gives gradients for parameters of the loss, such as a VAE's decoder."""
    weight = torch.ones(6, dtype=DOUBLE, requires_grad=True)
    constraint = LinearEquality(torch.ones(1, 6), torch.ones(1))
    q = ConstrainedGaussian(torch.randn(6, dtype=DOUBLE), torch.ones(6, dtype=DOUBLE), constraint)
    for kind in (*PATHWISE, "score_function"):
        surrogate = of_kind(EstimatorSpec, {"kind": kind}).surrogate(
            q, lambda z: (weight * z).square().sum(-1), 3
        )
        (gradient,) = torch.autograd.grad(surrogate.sum(), weight)
        assert (gradient > 0).all()


def test_counts_have_a_marginal_expectation_and_a_score():
    """For counts the proxy k p is exact for linear losses; the score function is for any loss."""
    rate = torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE)
    batch = rate.expand(SAMPLES, 3).clone().requires_grad_()
    exact_rate = rate.clone().requires_grad_()
    (truth,) = torch.autograd.grad((ConstrainedPoisson(exact_rate, 5).mean * weights).sum(), exact_rate)
    for kind in ("marginal_expectation", "score_function"):
        p = ConstrainedPoisson(batch, 5)
        surrogate = of_kind(EstimatorSpec, {"kind": kind}).surrogate(p, lambda z: (z * weights).sum(-1))
        (found,) = torch.autograd.grad(surrogate.sum(), batch)
        assert score(found, truth) < 5


@pytest.mark.rejects
def test_what_an_estimator_cannot_do_is_named():
    p = ConstrainedPoisson(torch.ones(3), 2)
    with pytest.raises(ValueError, match="differentiable samples"):
        of_kind(EstimatorSpec, {"kind": "reparameterised"}).surrogate(p, SquaredLoss(torch.ones(3)))
    with pytest.raises(ValueError, match="known expectation"):
        of_kind(EstimatorSpec, {"kind": "closed_form"}).surrogate(p, lambda z: z.sum(-1))


def test_every_kind_is_tested_here():
    assert set(kinds(EstimatorSpec)) == {*PATHWISE, "score_function", "closed_form"}
