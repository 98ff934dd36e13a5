"""D-Flow and its batched L-BFGS, against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plumbline.constraints import Equations, LinearEquality
from plumbline.samplers import DDIMSpec, DDPMSpec, DFlowSpec, FlowSpec, MultistepSpec, draw
from plumbline.samplers._lbfgs import minimised

MIDPOINT = FlowSpec(steps=6, method="midpoint")


def quadratics(seed, count, dim, spread):
    """0.5 (x - c)^T H (x - c) of each sample, with condition numbers up to `spread`."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(count, dim, dim, generator=g, dtype=torch.float64)).Q
    values = spread ** torch.rand(count, dim, generator=g, dtype=torch.float64)
    hessians = directions @ (values[..., None] * directions.mT)
    centres = torch.randn(count, dim, generator=g, dtype=torch.float64)

    def loss(x, which=slice(None)):
        ahead = x - centres[which]
        gradient = (hessians[which] @ ahead[..., None])[..., 0]
        return 0.5 * (ahead * gradient).sum(1), gradient

    return loss, centres


def test_quadratics_are_minimised():
    loss, centres = quadratics(0, 5, 6, 100.0)
    found = minimised(loss, torch.zeros(5, 6).double(), iterations=60, memory=10, trials=10)
    torch.testing.assert_close(found, centres, rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 10), st.floats(1.0, 1e4))
def test_samples_do_not_affect_each_other(seed, iterations, memory, spread):
    """Each loss is at most that of the start, and a sample alone ends where it ends in its batch."""
    loss, _ = quadratics(seed, 4, 3, spread)
    start = torch.zeros(4, 3, dtype=torch.float64)
    keys = {"iterations": iterations, "memory": memory, "trials": 5}
    found = minimised(loss, start, **keys)
    assert bool((loss(found)[0] <= loss(start)[0]).all())
    alone = minimised(lambda x: loss(x, slice(2, 3)), start[2:3], **keys)
    torch.testing.assert_close(alone, found[2:3], rtol=1e-6, atol=1e-8)


def test_a_curved_valley_is_followed():
    def rosenbrock(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2
            (gradients,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradients

    start = torch.tensor([[-1.2, 1.0], [2.0, 0.0]], dtype=torch.float64)
    found = minimised(rosenbrock, start, iterations=100, memory=10, trials=12)
    torch.testing.assert_close(found, torch.ones(2, 2).double(), rtol=0, atol=1e-4)


def test_a_loss_that_is_not_finite_leaves_its_sample():
    def loss(x):
        return torch.where(x[:, 0] > 5, torch.nan, x.square().sum(1)), 2 * x

    found = minimised(loss, torch.tensor([[6.0], [1.0]]), iterations=5, memory=3, trials=5)
    assert found[0].item() == 6.0 and abs(found[1].item()) < 1e-3


def test_the_least_change_of_noise_conditions_a_gaussian(gaussian_problem, exact_law):
    """Where the sampler is affine in its noise z, x = F z + b, gradients lie in the rows of M = A F.

    The optimum is then z - M^+ (M z + A b - k), whose law is that of z given M z = k - A b: the samples
    follow the sampler's own distribution, conditioned.
    """
    model = gaussian_problem.model()
    base = DDIMSpec(steps=8)
    mean, covariance, _ = exact_law(base, model, gaussian_problem.equality)
    matrix, target = gaussian_problem.matrix, gaussian_problem.target
    gain = covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T)
    expected_mean, expected = mean + gain @ (target - matrix @ mean), covariance - gain @ matrix @ covariance
    spec = DFlowSpec(constraint="equalities", base=base, iterations=30)
    found = exact_law(spec, model, gaussian_problem.equality)
    np.testing.assert_allclose(found[0], expected_mean, atol=1e-4)
    np.testing.assert_allclose(found[1], expected, atol=1e-3)


def test_costs_and_a_curved_constraint(exact_gaussian):
    """Every evaluation of the loss takes 13 network evaluations, and as many backward passes."""
    ellipse = Equations(lambda x: x[:, :1] ** 2 / 4 + x[:, 1:2] ** 2 - 1)
    denoiser = exact_gaussian([0.0, 0.0], 1.0).denoiser
    spec = DFlowSpec(constraint="ellipse", base=MIDPOINT, iterations=30)
    x = draw(denoiser, spec, shape=(32, 2), constraints={"ellipse": ellipse})
    assert float(ellipse.residual(x).abs().max()) < 1e-3
    assert float(x.std(0).min()) > 0.3


def test_evaluations_are_counted(gaussian_problem, exact_law):
    spec = DFlowSpec(constraint="equalities", base=MIDPOINT, iterations=3)
    costs = exact_law(spec, gaussian_problem.model(), gaussian_problem.equality)[2]
    whole, rest = divmod(costs.backward_passes, 13)
    assert rest == 0 and whole >= 4
    assert costs.network_evaluations == costs.backward_passes + 13


def test_the_base_must_be_a_function_of_its_first_noise(exact_gaussian):
    for base in (DDPMSpec(steps=4), DDIMSpec(steps=4, eta=0.5)):
        with pytest.raises(ValidationError, match="draws noise of its own"):
            DFlowSpec(constraint="one", base=base)
    spec = DFlowSpec(constraint="one", base=MultistepSpec(steps=4))
    one = LinearEquality(torch.ones(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match="`d_flow` takes single steps of its base"):
        draw(exact_gaussian([0.0, 0.0], 1.0).denoiser, spec, shape=(4, 2), constraints={"one": one})
