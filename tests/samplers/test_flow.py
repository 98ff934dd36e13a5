"""Runge-Kutta and multistep methods for flows: orders and exact laws on a Gaussian, without Monte Carlo."""

import numpy as np
import pytest

from plumbline.constraints import Bounds
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, RectifiedScheduleSpec
from plumbline.samplers import (
    DDIMSpec,
    DenoisingSpec,
    FlowSpec,
    HeunSpec,
    MultistepSpec,
    ProjectedSpec,
    draw,
)

SCHEDULES = {"rectified": RectifiedScheduleSpec().build(), "edm": EDMScheduleSpec().build()}


@pytest.fixture(params=SCHEDULES)
def error(request, gaussian_problem, exact_law):
    """Returns a function from a sampler to the largest error of its mean and covariance."""
    model = gaussian_problem.model(SCHEDULES[request.param])
    limit = exact_law(FlowSpec(steps=1000, method="midpoint"), model, gaussian_problem.equality)

    def measured(spec: DenoisingSpec) -> float:
        found = exact_law(spec, model, gaussian_problem.equality)
        return max(float(np.abs(a - b).max()) for a, b in zip(found[:2], limit[:2], strict=True))

    return measured


def test_eulers_method_is_ddim(gaussian_problem, exact_law):
    for schedule in SCHEDULES.values():
        model = gaussian_problem.model(schedule)
        flow = exact_law(FlowSpec(steps=20), model, gaussian_problem.equality)
        ddim = exact_law(DDIMSpec(steps=20), model, gaussian_problem.equality)
        np.testing.assert_allclose(flow[0], ddim[0], atol=1e-10)
        np.testing.assert_allclose(flow[1], ddim[1], atol=1e-10)
        assert flow[2].network_evaluations == ddim[2].network_evaluations == 21


@pytest.mark.parametrize(
    ("method", "least", "most"), [("euler", 1.9, 2.1), ("midpoint", 3.6, 9), ("heun", 3.6, 5)]
)
def test_orders_of_convergence(error, method, least, most):
    """Half the step leaves a half or a quarter of the error; for the midpoint rule on the rectified schedule,
    an eighth, since the leading terms at both ends of this flow cancel."""
    coarse, fine = (error(FlowSpec(steps=steps, method=method)) for steps in (64, 128))
    assert least < coarse / fine < most


@pytest.mark.parametrize("form", ["noise", "velocity", "exponential_noise", "exponential_data"])
def test_multistep_methods_are_of_second_order(error, form):
    """Half the step leaves about a quarter of the error, where a method of first order leaves a half."""
    coarse, fine = (error(MultistepSpec(steps=steps, form=form)) for steps in (64, 128))
    assert 3.2 < coarse / fine < 6


def test_evaluations(gaussian_problem, exact_law):
    model = gaussian_problem.model()
    for spec, evaluations in (
        (FlowSpec(steps=5, method="midpoint"), 11),
        (FlowSpec(steps=5, method="heun"), 11),
        (MultistepSpec(steps=5, order=3), 6),
    ):
        assert exact_law(spec, model, gaussian_problem.equality)[2].network_evaluations == evaluations


def test_the_velocity_suits_the_rectified_schedule(gaussian_problem, exact_law):
    """At 32 evaluations: the midpoint rule is at the error of its start, and `heun` is 100 times off."""
    model = gaussian_problem.model(SCHEDULES["rectified"])
    free = (gaussian_problem.mean, gaussian_problem.covariance)

    def distance(spec):
        mean, covariance, _ = exact_law(spec, model, gaussian_problem.equality)
        return gaussian_wasserstein(mean, covariance, *free)

    assert distance(FlowSpec(steps=16, method="midpoint")) < 0.003
    assert distance(FlowSpec(steps=16, method="heun")) < 0.01
    assert distance(MultistepSpec(steps=32, form="velocity")) < 0.01
    assert distance(HeunSpec(steps=16)) > 1


def test_both_schedules_draw_the_same_law(gaussian_problem, exact_law):
    """Up to the signal that their first states lack: 1/1000 and 1/80 of the data's."""
    laws = [
        exact_law(
            FlowSpec(steps=200, method="midpoint"), gaussian_problem.model(one), gaussian_problem.equality
        )
        for one in SCHEDULES.values()
    ]
    np.testing.assert_allclose(laws[0][0], laws[1][0], atol=0.03)
    np.testing.assert_allclose(laws[0][1], laws[1][1], atol=0.003 * laws[0][1].max())


def test_projected_refuses_steps_that_depend_on_each_other(exact_gaussian):
    spec = ProjectedSpec(constraint="one", base=MultistepSpec(steps=4))
    denoiser = exact_gaussian([0.0, 0.0], 1.0).denoiser
    with pytest.raises(ValueError, match="single steps of its base, and those of `multistep`"):
        draw(denoiser, spec, shape=(4, 2), constraints={"one": Bounds(lower=0.0)})
