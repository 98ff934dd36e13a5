"""Graph filters and their tangent kernels, compared with closed forms and gradient descent."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from torch_geometric.nn import TAGConv

from plumbline.datasets.vector_autoregressions import VectorAutoregressionsSpec, stationary_covariance
from plumbline.metrics import EvaluationContext, half_width
from plumbline.metrics.kernel_alignment import KernelAlignmentSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.predictive._graph_filter import shift_operator
from plumbline.models.predictive._tangent_kernel import jacobian, tangent_kernel
from plumbline.models.predictive.graph_filter import GraphFilterSpec
from plumbline.networks.linear_filter import LinearFilterSpec
from plumbline.networks.two_layer_filter import TwoLayerFilterSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

N, M, K = 5, 30, 3


def signals(seed=0, n=N, m=M):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(m, n, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    shift = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return x, y, (shift + shift.T) / 4


def outputs_of(spec, x, shift, seed=0):
    torch.manual_seed(seed)
    network = spec.build(1).double()
    weights = {name: p.detach() for name, p in network.named_parameters()}
    system, operator = torch.zeros(len(x), dtype=torch.long), shift.expand(len(x), -1, -1)
    return (lambda w: torch.func.functional_call(network, dict(w), (x, operator, system))), weights


def powers(shift, taps=K):
    return [torch.linalg.matrix_power(shift, k) for k in range(taps)]


def test_the_kernel_of_one_filter_is_its_closed_form():
    """Theta = sum_k S~^k x~ x~' S~^k."""
    x, _, shift = signals()
    j = jacobian(*outputs_of(LinearFilterSpec(taps=K), x, shift))
    stacked = [(x @ power).flatten() for power in powers(shift)]
    torch.testing.assert_close(j @ j.T, sum(torch.outer(v, v) for v in stacked))


def test_its_alignment_is_the_sum_of_squared_traces():
    """y' Theta y = sum_k tr(S^k C_XY)^2, C_XY the symmetric part of X Y'."""
    x, y, shift = signals()
    j = jacobian(*outputs_of(LinearFilterSpec(taps=K), x, shift))
    found = tangent_kernel(j, y.flatten(), y.flatten(), 1)
    cross = 0.5 * (x.T @ y + y.T @ x)
    expected = sum(torch.trace(power @ cross) ** 2 for power in powers(shift))
    largest = torch.linalg.eigvalsh(j @ j.T)[-1]
    torch.testing.assert_close(found.alignment, expected / (largest * y.square().sum()))
    assert float(found.alignment) <= 1


def test_one_step_of_descent_is_the_identity_of_the_loss():
    """In one step from zero, 1/2 |y - f|^2 decreases by eta A - eta^2 / 2 |Theta y|^2."""
    x, y, shift = signals()
    j = jacobian(*outputs_of(LinearFilterSpec(taps=K), x, shift))
    kernel, r = j @ j.T, y.flatten()
    eta = 1 / torch.linalg.eigvalsh(kernel)[-1]
    fall = eta * (r @ kernel @ r) - eta**2 / 2 * (kernel @ r).square().sum()
    found = tangent_kernel(j, r, r, 1).descent
    torch.testing.assert_close(found[0], torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(found[1], (0.5 * r.square().sum() - fall) / (0.5 * r.square().sum()))


def descended(outputs, weights, y, eta, steps):
    """The normalised errors along actual gradient descent."""
    errors = []
    for _ in range(steps + 1):
        weights = {name: w.clone().requires_grad_(True) for name, w in weights.items()}
        loss = 0.5 * (outputs(weights) - y).square().sum()
        errors.append(float(2 * loss.detach() / y.square().sum()))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        weights = {
            name: (w - eta * g).detach() for (name, w), g in zip(weights.items(), gradients, strict=True)
        }
    return np.array(errors)


def test_descent_of_one_filter_is_as_the_kernel_says():
    x, y, shift = signals()
    outputs, weights = outputs_of(LinearFilterSpec(taps=K), x, shift)
    j = jacobian(outputs, weights)
    eta = 1 / float(torch.linalg.eigvalsh(j.T @ j)[-1])
    found = tangent_kernel(j, y.flatten(), y.flatten(), 20).descent
    np.testing.assert_allclose(found, descended(outputs, weights, y, eta, 20), rtol=1e-9)


def test_descent_of_two_layers_is_as_the_kernel_says_in_the_wide_limit():
    """Over 20 steps the gap decreases like F^(-1/2) to F^-1.

    From 32 to 256 filters it more than halves, averaged over seeds.
    """
    x, y, shift = signals()
    gaps = {}
    for width in (32, 256):
        gap = []
        for seed in range(3):
            outputs, weights = outputs_of(TwoLayerFilterSpec(taps=2, width=width), x, shift, seed)
            j = jacobian(outputs, weights)
            eta = 1 / float(torch.linalg.eigvalsh(j @ j.T)[-1])
            residual = (y - outputs(weights)).flatten()
            predicted = tangent_kernel(j, residual, y.flatten(), 20).descent.numpy()
            gap.append(np.abs(predicted - descended(outputs, weights, y, eta, 20)).max() / predicted[0])
        gaps[width] = np.mean(gap)
    assert gaps[256] < 0.5 * gaps[32]
    assert gaps[256] < 0.005


def test_the_kernel_of_the_second_layer_comes_to_the_infinite_one():
    """Theta = sum_k S~^k B S~^k, B = E_h[tanh(u~) tanh(u~)'], within 5% for 4,000 filters."""
    x, _, shift = signals(m=6)
    outputs, weights = outputs_of(TwoLayerFilterSpec(taps=2, width=4000), x, shift)
    second = {"second": weights["second"]}
    fixed = lambda w: outputs({"first": weights["first"], **w})  # noqa: E731
    j = jacobian(fixed, second)
    generator = torch.Generator().manual_seed(9)
    h = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    u = torch.tanh(h @ torch.stack([x.flatten(), (x @ shift).flatten()]))
    inner = (u.T @ u / len(u)).view(6, N, 6, N)
    shifted = torch.einsum("ij,ajbk,kl->aibl", shift, inner, shift)
    expected = (inner + shifted).reshape(6 * N, 6 * N)
    assert float((j @ j.T - expected).norm() / expected.norm()) < 0.05


def test_the_cross_covariance_is_the_best_sum_of_powers():
    """It maximises the bound (tr(sum_k S^k C_XY))^2 at a given norm of the sum.

    No random symmetric matrix exceeds it.
    """
    x, y, _ = signals()
    cross = 0.5 * (x.T @ y + y.T @ x)
    best = torch.trace(cross @ cross / cross.norm()) ** 2
    generator = torch.Generator().manual_seed(1)
    tried = torch.randn(5000, N, N, generator=generator, dtype=torch.float64)
    tried = tried + tried.mT
    tried = tried / tried.flatten(1).norm(dim=1)[:, None, None]
    assert float(torch.einsum("bij,ji->b", tried, cross).square().max()) < float(best)


@pytest.mark.parametrize("taps", [1, 3])
def test_a_filter_is_a_topology_adaptive_convolution(taps):
    """PyTorch Geometric's TAGConv without normalisation is the same filter, on the graph's weighted edges."""
    x, _, shift = signals()
    h = torch.randn(taps, dtype=torch.float64)
    peer = TAGConv(1, 1, K=taps - 1, bias=False, normalize=False).double()
    for lin, tap in zip(peer.lins, h, strict=True):
        lin.weight.data.fill_(float(tap))
    edges = torch.tensor(list(itertools.product(range(N), range(N)))).T
    expected = torch.stack([peer(one[:, None], edges, shift[edges[0], edges[1]])[:, 0] for one in x])
    ours = LinearFilterSpec(taps=taps).build(1).double()
    ours.taps.data[0] = h
    found = ours(x, shift.expand(M, -1, -1), torch.zeros(M, dtype=torch.long))
    torch.testing.assert_close(found, expected)


def test_two_layers_are_the_formula():
    x, _, shift = signals()
    network = TwoLayerFilterSpec(taps=3, width=2).build(1).double()
    g, h = network.second[0], network.first[0]
    expected = 0
    for f in range(2):
        hidden = torch.tanh(sum(h[f, k] * x @ power for k, power in enumerate(powers(shift))))
        expected = expected + sum(g[f, k] * hidden @ power for k, power in enumerate(powers(shift)))
    found = network(x, shift.expand(M, -1, -1), torch.zeros(M, dtype=torch.long))
    torch.testing.assert_close(found, expected / 2**0.5)


@pytest.fixture(scope="module")
def series():
    splits = {"train": 2000, "validation": 200, "test": 200}
    return VectorAutoregressionsSpec(nodes=10, systems=2, parts=1, splits=splits).draw_part(0)


def fitted(series, tmp_path, steps=300, **keys):
    torch.manual_seed(0)
    spec = GraphFilterSpec(systems=2, **keys)
    model = spec.build(BuildContext(series.isel(sample=slice(0, 1))))
    training = batch_of(series.isel(sample=np.flatnonzero(series["split"].values == "train")))
    model.prepare(training)
    recipe = TrainingSpec(steps=steps, batch=2000, learning_rate=1e-2, ema=0.9, accelerator="cpu")
    return train(model, InMemory(training), recipe, seed=0, folder=tmp_path, identity="t").eval()


def evaluated(model, series):
    test = series.isel(sample=np.flatnonzero(series["split"].values == "test"))
    with torch.no_grad():
        predictions = {name: tensor.numpy() for name, tensor in model.predict(batch_of(test)).items()}
    dims = {name: ("sample", *(f"{name}_index" for _ in v.shape[1:])) for name, v in predictions.items()}
    samples = xr.Dataset({name: (dims[name], value) for name, value in predictions.items()})
    samples["system"] = ("sample", test["system"].values)
    return KernelAlignmentSpec().evaluate(samples, series, EvaluationContext())


def test_a_filter_comes_to_its_least_squares(series, tmp_path):
    """With two taps per system, the solution is that of two normal equations."""
    model = fitted(series, tmp_path, steps=600)
    test, training = (
        series.isel(sample=np.flatnonzero(series["split"].values == split)) for split in ("test", "train")
    )
    errors = []
    for r in range(2):
        x, y = (training[name].values[training["system"] == r] for name in ("condition", "state"))
        centre, scale = (
            np.stack([f(x, 0), f(y, 0)]) for f in (np.mean, lambda v, axis: np.std(v, axis, ddof=1))
        )
        zx, zy = (x - centre[0]) / scale[0], (y - centre[1]) / scale[1]
        operator = shift_operator("cross_covariance", torch.tensor(zx), torch.tensor(zy)).numpy()
        design = np.stack([zx.ravel(), (zx @ operator).ravel()], 1)
        h = np.linalg.lstsq(design, zy.ravel(), rcond=None)[0]
        tx, ty = (test[name].values[test["system"] == r] for name in ("condition", "state"))
        zx, zy = (tx - centre[0]) / scale[0], (ty - centre[1]) / scale[1]
        errors.append(((h[0] * zx + h[1] * zx @ operator - zy) ** 2).sum() / (zy**2).sum())
    np.testing.assert_allclose(evaluated(model, series)["error_of_system"], errors, rtol=2e-3)


def test_the_cross_covariance_comes_before_the_covariance_and_that_before_none(series, tmp_path):
    """In the error, and in the kernel's prediction before the training, for every system."""
    found = {
        graph: evaluated(fitted(series, tmp_path / graph, graph=graph), series)
        for graph in ("cross_covariance", "covariance", "identity", "shuffled", "learned")
    }
    errors = {graph: one["error_of_system"].values for graph, one in found.items()}
    assert (errors["cross_covariance"] < errors["covariance"]).all()
    assert (errors["covariance"] < errors["identity"]).all()
    assert (errors["cross_covariance"] < errors["shuffled"]).all()
    # A learned matrix may be any matrix.
    assert (errors["learned"] < errors["cross_covariance"]).all()
    assert float(found["cross_covariance"]["alignment"]) >= float(found["covariance"]["alignment"])
    descent = {graph: one["kernel_descent"].values[:, 10] for graph, one in found.items()}
    assert (descent["cross_covariance"] < descent["covariance"]).all()


def expected_error(covariance, cross, graph):
    """The least normalised error of h_0 x + h_1 S x for standardised x and y with given covariances."""
    terms = [np.eye(len(graph)), graph / np.linalg.norm(graph, 2)]
    squares = [[np.trace(p @ covariance @ q.T) for q in terms] for p in terms]
    products = [np.trace(p @ cross) for p in terms]
    return 1 - products @ np.linalg.lstsq(squares, products, rcond=None)[0] / len(graph)


def test_by_the_law_of_the_family_the_cross_covariance_is_before_the_covariance_in_every_system():
    """This holds for 500 systems.

    The errors of five others, in the notes of the simulation, are within 2.6 standard errors (99%).
    """
    family = VectorAutoregressionsSpec(splits={"train": 10, "validation": 10, "test": 10})
    errors = []
    for r in range(500):
        matrix = family.matrix(r)
        covariance = stationary_covariance(matrix)
        scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
        covariance, cross = covariance / scale, covariance @ matrix.T / scale
        graphs = ((cross + cross.T) / 2, covariance, np.eye(len(matrix)))
        errors.append([expected_error(covariance, cross, graph) for graph in graphs])
    crossed, covaried, none = np.transpose(errors)
    assert (crossed < covaried).all()
    assert (covaried <= none + 1e-12).all()
    mean, std = np.mean(errors, 0), np.std(errors, 0)
    assert (np.abs([0.563, 0.809, 0.917] - mean) < 2.6 * std / np.sqrt(5)).all()


def test_the_graph_does_not_know_the_test_split(series, tmp_path):
    model = fitted(series, tmp_path / "a", steps=1)
    other = series.copy(deep=True)
    other["state"].values[other["split"].values != "train"] = 0
    torch.testing.assert_close(fitted(other, tmp_path / "b", steps=1).shift, model.shift)


def test_a_forecast_that_knows_nothing_has_an_error_of_one(series, tmp_path):
    model = fitted(series, tmp_path, steps=1)
    with torch.no_grad():
        model.network.taps.zero_()
    assert evaluated(model, series)["error_of_system"].values == pytest.approx([1.0, 1.0], rel=1e-4)


def test_the_interval_is_that_of_student():
    """For (1, 2, 3): t = 4.303 for two degrees of freedom, a std of one, divided by the root of three."""
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert np.isnan(half_width(np.array([1.0])))


def test_what_does_not_fit_is_said(series):
    with pytest.raises(ValueError, match=r"`systems` is 3, and the training data has 2"):
        GraphFilterSpec(systems=3).build(BuildContext(series)).prepare(batch_of(series))
    fewer = series.isel(component=slice(0, 4))
    with pytest.raises(ValueError, match="found a state \\(10,\\) and 4 entries of `condition`"):
        GraphFilterSpec(systems=2).build(BuildContext(fewer))
