"""Regressions under an equality: distributions in the data's units, objectives, training of the variance."""

import numpy as np
import pytest
import torch

from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets.reactor import ReactorSpec
from plumbline.distributions.objectives import ObjectiveSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.predictive.regression import RegressionSpec
from plumbline.spec import kinds

NETWORK = {"kind": "perceptron", "width": 16, "layers": 1}
OBJECTIVES = [
    {"kind": "squared_error"},
    {"kind": "absolute_error"},
    {"kind": "expected_squared_error"},
    {"kind": "expected_absolute_error"},
    {"kind": "likelihood"},
    {"kind": "sampled", "estimator": {"kind": "reparameterised"}, "samples": 3},
    {"kind": "sampled", "estimator": {"kind": "marginal_expectation"}, "error": "absolute"},
]
LAWS = [{"kind": kind} for kind in ("independent", "projected", "completed", "conditioned")]


@pytest.fixture(scope="module")
def data():
    return ReactorSpec(parts=1, splits={"train": 200, "validation": 2, "test": 2}).draw_part(0)


def constraint(data):
    return LinearEqualitySpec(matrix="balance_matrix", target="balance_target").build(data)


def model(data, distribution, objective, **values):
    torch.manual_seed(0)
    spec = RegressionSpec(
        network=NETWORK, likelihood=distribution, objective=objective, constraint="balances", **values
    )
    built = spec.build(BuildContext(data, {"balances": constraint(data)})).double()
    built.prepare(batch_of(data))
    return built


def double(data):
    return {name: tensor.double() for name, tensor in batch_of(data).items()}


@pytest.mark.parametrize("distribution", LAWS, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("scaling", ["per_feature", "global", "max_abs"])
def test_predictions_are_feasible_and_losses_train_everything(data, distribution, objective, scaling):
    torch.set_default_dtype(torch.float64)
    try:
        built = model(data, distribution, objective, scaling=scaling)
        batch = double(data)
        loss, terms = built.loss(batch)
        loss.backward()
        assert torch.isfinite(loss) and all(torch.isfinite(t) for t in terms.values())
        blind = (
            objective.get("estimator", {}).get("kind") == "marginal_expectation"
            and distribution["kind"] != "conditioned"
        )
        for name, parameter in built.named_parameters():
            if blind and "raw_variance" in name:
                continue  # the mean of these distributions does not depend on the variances
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        with torch.no_grad():
            predictions = built.predict(batch)
    finally:
        torch.set_default_dtype(torch.float32)
    violation = constraint(data).bind(batch)
    feasible = distribution["kind"] != "independent"
    assert feasible == bool((violation.violation(predictions["state"]) < 1e-12).all())
    assert feasible == bool((violation.violation(predictions["predicted_mean"]) < 1e-12).all())
    assert ("log_likelihood" in predictions) == feasible


def test_likelihoods_do_not_depend_on_the_scaling(data):
    """The conditioned distribution is the same in any units; its density is given in the data's units."""
    torch.set_default_dtype(torch.float64)
    try:
        batch = double(data)
        predictions = {}
        for scaling in ("per_feature", "max_abs"):
            built = model(data, {"kind": "conditioned"}, {"kind": "likelihood"}, scaling=scaling)
            space = built.output.space
            mean = space.encode(batch["state"]) + 0.1 / space.scale
            variance = (0.3 / space.scale).square().expand_as(mean)
            with torch.no_grad():
                predictions[scaling] = built.output.predict(mean, variance, batch)["log_likelihood"]
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(predictions["per_feature"], predictions["max_abs"], rtol=1e-10, atol=1e-10)


def test_point_objectives_fit_the_variance_without_touching_the_mean(data):
    """The training of the mean is bitwise the same, whatever the variance is."""
    gradients = {}
    for initial in (0.05, 0.5):
        built = model(data, {"kind": "projected"}, {"kind": "squared_error"}, initial_std=initial)
        torch.set_default_dtype(torch.float64)
        built.loss(double(data))[0].backward()
        torch.set_default_dtype(torch.float32)
        gradients[initial] = [p.grad for n, p in built.named_parameters() if "raw_variance" not in n]
        assert built.head.raw_variance.bias.grad.abs().max() > 0
    for a, b in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_penalty_draws_the_mean_to_the_balances(data):
    once, twice = (
        model(data, {"kind": "independent"}, {"kind": "squared_error"}, penalty=penalty)
        .float()
        .loss(batch_of(data))
        for penalty in (1.0, 2.0)
    )
    assert float((twice[0] - once[0]).detach()) == pytest.approx(float(twice[1]["penalty"]), rel=1e-4)


@pytest.mark.rejects
def test_a_law_without_its_equality_is_refused():
    with pytest.raises(ValueError, match="`conditioned` needs `constraint`"):
        RegressionSpec(network=NETWORK, likelihood={"kind": "conditioned"}, objective={"kind": "likelihood"})


def test_every_objective_is_tested_here():
    assert set(kinds(ObjectiveSpec)) == {objective["kind"] for objective in OBJECTIVES}


def test_the_reactor_balances_and_solves_its_rate_law(data):
    state, (temperature, benzene, ethylene) = data["state"].values.astype(float), data["condition"].values.T
    xi = state[:, 0]
    spec = ReactorSpec(parts=1, splits={"train": 2, "validation": 2, "test": 2})
    rate = spec.capacity * np.exp(-spec.activation_energy / 8.314462618 * (1 / temperature - 1 / 400))
    expected = rate * (benzene - xi) * (ethylene - xi) / (benzene + ethylene) ** 2
    np.testing.assert_allclose(xi, expected, rtol=1e-3, atol=1e-4)
    assert (state >= 0).all()
    np.testing.assert_allclose(state[:, 0] + state[:, 1], benzene, rtol=1e-6)
    np.testing.assert_allclose(state[:, 0] + state[:, 2], ethylene, rtol=1e-6)
