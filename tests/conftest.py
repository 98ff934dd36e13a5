"""Shared fixtures. One thread a test process: small operations on several threads stall each other.

The shapes and types that the numerical modules declare are checked at every call while the tests of their rooms run, but
for those that are marked `rejects`: they give bad input on purpose, and see the error that a user would see.
"""

import jaxtyping

CHECKED = (
    "plumbline.constraints._burgers_residual",
    "plumbline.constraints._burgers_residual",
    "plumbline.constraints._evolution",
    "plumbline.constraints._evolution",
    "plumbline.constraints._kolmogorov_residual",
    "plumbline.constraints.divergence_free",
    "plumbline.constraints._linear_equality",
    "plumbline.linalg.maps",
    "plumbline.constraints._rows",
    "plumbline.constraints._tiling",
    "plumbline.distributions",
    "plumbline.models.mirror._analytic_mirror",
    "plumbline.models.constrained._constrained_diffusion",
    "plumbline.models.constrained._null_space_diffusion",
    "plumbline.models.diffusion._diffusion",
    "plumbline.models.diffusion._schedules",
    "plumbline.models.distributional._divergences",
    "plumbline.models.distributional._divergences",
    "plumbline.models.fitted._fitted_gaussian",
    "plumbline.models.predictive._gradient_estimator",
    "plumbline.models.predictive.graph_filter",
    "plumbline.models.latent._specs",
    "plumbline.models.mirror._mirror_map",
    "plumbline.models.distributional._multiplier_specs",
    "plumbline.models.predictive._node_regression",
    "plumbline.models._outputs",
    "plumbline.models.predictive._portfolio",
    "plumbline.models.mirror.restorer",
    "plumbline.models.spaces",
    "plumbline.models.autoencoder._autoencoder",
    "plumbline.networks.blocks",
    "plumbline.networks.convolutional",
    "plumbline.networks._gated_graph",
    "plumbline.networks.graph_filter",
    "plumbline.networks._input_convex",
    "plumbline.networks.latent",
    "plumbline.networks._mlp",
    "plumbline.networks._perceptron",
    "plumbline.networks._resnet",
    "plumbline.networks._tiled",
    "plumbline.networks._unet",
    "plumbline.observations._observation",
    "plumbline.solvers",
)
ROOMS = ("solvers", "constraints", "distributions", "networks", "models", "observations")
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

# The same examples every time: a failure is a change of ours, never of the draw.
hypothesis.settings.register_profile("plumbline", derandomize=True, deadline=None)
hypothesis.settings.load_profile("plumbline")

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """The longest modules first, so that no worker is left with one at the end."""
    longest = {"test_workflow.py": 0, "test_rerun.py": 1, "test_studies.py": 2}
    items.sort(key=lambda item: longest.get(item.path.name, len(longest)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    checked = item.path.parent.name in ROOMS and item.get_closest_marker("rejects") is None
    jaxtyping.config.update("jaxtyping_disable", not checked)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def exact_gaussian():
    """Makes the exact denoiser of a Gaussian in the plane, which takes its mean and deviation for the units that it works in."""
    import numpy as np
    import xarray as xr

    from plumbline.models import Foundation
    from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec

    example = xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})

    def made(mean, deviation):
        torch.manual_seed(0)
        points = torch.randn(4000, 2)
        points = (points - points.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(points.T.cov())).T
        model = FittedGaussianSpec(scaling="global").build(Foundation(example))
        model.prepare({"state": torch.tensor(mean) + deviation * points})
        return model.eval().requires_grad_(False)

    return made
