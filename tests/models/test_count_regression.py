"""Regressions of counts: against scikit-learn's multinomial regression, and with known totals."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import multinomial, poisson

from plumbline.constraints.conserved import ConservedSpec
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets.category_counts import CategoryCountsSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.predictive.count_regression import CountRegressionSpec

LINEAR = {"kind": "perceptron", "width": 8, "layers": 1, "activation": "none"}
OBJECTIVES = [
    {"kind": "likelihood"},
    {"kind": "squared_error"},
    {"kind": "expected_squared_error"},
    {"kind": "expected_absolute_error"},
    {"kind": "sampled", "estimator": {"kind": "marginal_expectation"}, "error": "absolute"},
]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def data():
    splits = {"train": 300, "validation": 2, "test": 2}
    return CategoryCountsSpec(categories=5, totals=(1, 40), parts=1, splits=splits).draw_part(0)


def model(data, **values):
    torch.manual_seed(0)
    total = ConservedSpec(over=("category",), total="total").build(data)
    values = {"network": LINEAR, "objective": {"kind": "likelihood"}, "constraint": "total"} | values
    built = CountRegressionSpec(**values).build(BuildContext(data, {"total": total})).double()
    built.prepare(batch_of(data))
    return built


def double(data):
    return {name: tensor.double() for name, tensor in batch_of(data).items()}


def test_a_linear_network_with_the_likelihood_is_multinomial_regression(data):
    """Both minimise a convex loss: the probabilities agree at the optimum."""
    from sklearn.linear_model import LogisticRegression

    built, batch = model(data), double(data)
    optimiser = torch.optim.LBFGS(
        built.parameters(), max_iter=2000, tolerance_grad=1e-10, tolerance_change=1e-14, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        loss, _ = built.loss(batch)
        loss.backward()
        return loss

    optimiser.step(closure)
    counts, condition = batch["state"].numpy(), batch["condition"].numpy()
    repeated = np.repeat(condition, counts.shape[1], axis=0)
    classes = np.tile(np.arange(counts.shape[1]), len(counts))
    known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000)
    known.fit(repeated, classes, sample_weight=counts.ravel())
    with torch.no_grad():
        found = built.distribution(batch).probabilities.numpy()
    np.testing.assert_allclose(found, known.predict_proba(condition), atol=2e-5)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("likelihood", ["conditioned", "independent"])
def test_samples_are_counts_and_losses_train_everything(data, likelihood, objective):
    built, batch = model(data, likelihood=likelihood, objective=objective), double(data)
    loss, terms = built.loss(batch)
    loss.backward()
    assert all(bool((p.grad != 0).any()) for p in built.parameters())
    assert set(terms) == {"objective", "absolute_error"}
    with torch.no_grad():
        found = built.predict(batch)
    assert bool(((found["state"] >= 0) & (found["state"] == found["state"].round())).all())
    sums = found["state"].sum(1)
    assert bool((sums == batch["total"]).all()) == (likelihood == "conditioned")
    of_means = found["predicted_mean"].sum(1)
    assert torch.allclose(of_means, batch["total"]) == (likelihood == "conditioned")


def test_log_likelihoods_are_scipys(data):
    built, batch = model(data), double(data)
    with torch.no_grad():
        mean, found = built.distribution(batch).mean, built.predict(batch)["log_likelihood"]
    probabilities = (mean / batch["total"][:, None]).numpy()
    exact = multinomial.logpmf(batch["state"].numpy(), batch["total"].numpy(), probabilities)
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-9)
    free = model(data, likelihood="independent", constraint=None)
    with torch.no_grad():
        rates, predicted = free.distribution(batch).mean, free.predict(batch)
    assert "log_likelihood" not in predicted
    exact = poisson.logpmf(batch["state"].numpy(), rates.numpy()).sum(1)
    np.testing.assert_allclose(predicted["log_likelihood_free"].numpy(), exact, rtol=1e-9)


def test_training_starts_at_the_mean_counts(data):
    batch = double(data)
    for values in ({}, {"likelihood": "independent"}, {"likelihood": "independent", "constraint": None}):
        built = model(data, **values)
        with torch.no_grad():
            built.head.weight.zero_()
            start = built.distribution(batch).mean.mean(0)
        torch.testing.assert_close(start, batch["state"].mean(0), rtol=0.05, atol=0.0)


def test_the_exposure_scales_the_rates(data):
    built = model(data, likelihood="independent")
    batch = double(data)
    doubled = batch | {"total": 2 * batch["total"]}
    with torch.no_grad():
        torch.testing.assert_close(built.distribution(doubled).mean, 2 * built.distribution(batch).mean)


def test_a_total_may_be_written_as_any_equality(data):
    built = model(data)
    twice = LinearEqualitySpec(matrix=[[2.0] * 5], target=[14.0]).build(data)
    spec = CountRegressionSpec(network=LINEAR, objective={"kind": "likelihood"}, constraint="total")
    of_seven = spec.build(BuildContext(data, {"total": twice})).double()
    of_seven.load_state_dict(built.state_dict())
    batch = double(data)
    with torch.no_grad():
        found = of_seven.distribution(batch)
        torch.testing.assert_close(found.probabilities, built.distribution(batch).probabilities)
    assert bool((found.total == 7).all())


def test_what_is_no_count_or_no_total_is_refused(data):
    with pytest.raises(ValidationError, match="`likelihood: conditioned` needs `constraint`"):
        CountRegressionSpec(network=LINEAR, objective={"kind": "likelihood"})
    spec = CountRegressionSpec(network=LINEAR, objective={"kind": "likelihood"}, constraint="total")
    for matrix in ([[1.0, 2.0, 1.0, 1.0, 1.0]], [[1, 1, 0, 0, 0.0], [0, 0, 1, 1, 1.0]]):
        equality = LinearEqualitySpec(matrix=matrix, target=[3.0] * len(matrix)).build(data)
        with pytest.raises(ValueError, match="`constraint`: expected the sum of all counts"):
            spec.build(BuildContext(data, {"total": equality}))
    total = ConservedSpec(over=("category",), total="total").build(data)
    built = spec.build(BuildContext(data, {"total": total}))
    with pytest.raises(ValueError, match="requires counts: whole numbers"):
        built.prepare(batch_of(data.assign(state=data["state"] + 0.5)))
