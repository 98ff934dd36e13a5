"""Portfolios: the Sharpe ratio, budgets by construction, rules of skfolio, performance after costs."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints.sum import SumSpec
from plumbline.datasets.sp500_windows import SP500WindowsSpec
from plumbline.metrics import EvaluationContext
from plumbline.metrics.portfolio_performance import PortfolioPerformanceSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.predictive._portfolio import sharpe_ratio
from plumbline.models.predictive.portfolio import PortfolioSpec
from plumbline.models.predictive.portfolio_rule import PortfolioRuleSpec
from plumbline.models.predictive.softmax_portfolio import SoftmaxPortfolioSpec

NETWORK = {"kind": "perceptron", "width": 8, "layers": 1}


@pytest.fixture(scope="module")
def data():
    splits = {"train": 12, "validation": 2, "test": 4}
    return SP500WindowsSpec(lookback=30, horizon=10, parts=1, splits=splits).draw_part(0)


def test_the_sharpe_ratio_is_that_of_its_definition():
    generator = np.random.default_rng(0)
    returns, weights = generator.normal(1e-3, 1e-2, (3, 50, 4)), generator.dirichlet(np.ones(4), 3)
    found = sharpe_ratio(torch.tensor(weights), torch.tensor(returns))
    for i in range(3):
        daily = returns[i] @ weights[i]
        expected = (252 * daily.mean() - 0.03) / (252**0.5 * daily.std(ddof=1))
        assert float(found[i]) == pytest.approx(expected)


@pytest.mark.parametrize("distribution", ["independent", "projected", "completed", "conditioned"])
@pytest.mark.parametrize("estimator", ["reparameterised", "marginal_expectation"])
def test_decisions_spend_the_budget_if_their_law_says_so(data, distribution, estimator):
    spec = PortfolioSpec(
        network=NETWORK, likelihood={"kind": distribution}, constraint="budget", estimator={"kind": estimator}
    )
    model = spec.build(BuildContext(data, {"budget": SumSpec(total=1.0).build(data)}))
    batch = batch_of(data)
    model.prepare(batch)
    loss, terms = model.loss(batch)
    loss.backward()
    assert float(terms["sharpe"]) == pytest.approx(-float(loss))
    assert model.head.mean.weight.grad.abs().max() > 0
    with torch.no_grad():
        weights = model.predict(batch)["state"]
    assert bool(((weights.double().sum(1) - 1).abs() < 1e-5).all()) == (distribution != "independent")


def test_a_softmax_is_long_only(data):
    model = SoftmaxPortfolioSpec(network=NETWORK).build(BuildContext(data))
    batch = batch_of(data)
    model.prepare(batch)
    model.loss(batch)[0].backward()
    weights = model.predict(batch)["state"]
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))


@pytest.mark.parametrize("rule", ["maximum_sharpe", "minimum_variance"])
def test_rules_are_optimal_in_their_window(data, rule):
    """Neither 500 random long-only portfolios nor equal weights do better within the window."""
    weights = PortfolioRuleSpec(rule=rule).build(BuildContext(data)).predict(batch_of(data))["state"].numpy()
    others = np.concatenate(
        [np.random.default_rng(0).dirichlet(np.ones(20) * 0.3, 500), np.full((1, 20), 0.05)]
    )
    for window, own in zip(data["window"].values.astype(float), weights, strict=True):
        assert own.min() > -1e-6 and own.sum() == pytest.approx(1.0)
        daily = window @ np.stack([own, *others]).T
        ratio = daily.mean(0) / daily.std(0)
        value = ratio if rule == "maximum_sharpe" and (window.mean(0) > 0).any() else -daily.var(0)
        assert value[0] >= value[1:].max() - 1e-3 * abs(value[0])


def test_equal_weights_trade_nothing_after_the_first_day(data):
    weights = (
        PortfolioRuleSpec(rule="equal_weights").build(BuildContext(data)).predict(batch_of(data))["state"]
    )
    samples = xr.Dataset({"state": (("sample", "asset"), weights.numpy()), "future": data["future"]})
    values = PortfolioPerformanceSpec().evaluate(samples, data, EvaluationContext())
    assert float(values["turnover"]) == pytest.approx(0.0, abs=1e-9)
    free = PortfolioPerformanceSpec(cost=0.0).evaluate(samples, data, EvaluationContext())
    assert float(free["sharpe_after_costs"]) > float(values["sharpe_after_costs"])
    daily = data["future"].values.astype(float).mean(2).ravel()
    expected = (252 * daily.mean() - 0.03) / (252**0.5 * daily.std(ddof=1))
    assert float(free["sharpe_after_costs"]) == pytest.approx(expected, rel=1e-5)


def test_data_without_windows_is_refused(data):
    network = {"kind": "perceptron", "width": 8, "layers": 1}
    for spec in (SoftmaxPortfolioSpec(network=network), PortfolioRuleSpec(rule="equal_weights")):
        for name in ("window", "future"):
            with pytest.raises(ValueError, match=rf"a portfolio needs .* found `{name}` of the shape \(\)"):
                spec.build(BuildContext(data.drop_vars(name)))
    with pytest.raises(ValueError, match="`portfolio_performance`: the dataset has no variable `future`"):
        PortfolioPerformanceSpec().evaluate(data.drop_vars("future"), data, EvaluationContext())


def test_windows_are_read_by_name(data):
    """With as many days as assets, shapes do not reveal the order of the dimensions."""
    turned = data.assign(window=data["window"].transpose("sample", "asset", ...))
    with pytest.raises(ValueError, match="needs 'asset' as the last dimension of `window`"):
        PortfolioRuleSpec(rule="equal_weights").build(BuildContext(turned))
    turned = data.assign(future=data["future"].transpose("sample", "asset", ...))
    with pytest.raises(ValueError, match="needs 'asset' as the last dimension of `future`"):
        PortfolioPerformanceSpec().evaluate(turned, data, EvaluationContext())
