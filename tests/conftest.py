"""Shared fixtures. One thread a test process: small operations on several threads stall each other.

With PLUMBLINE_CHECK_SHAPES set, the shapes and types that the numerical modules declare are checked while the
tests run; `test_shapes.py` runs the numerical tests so.
"""

import os

from jaxtyping import install_import_hook

CHECKED = (
    "plumbline.constraints.burgers.differences",
    "plumbline.constraints.burgers.spectral",
    "plumbline.constraints.evolution.projection",
    "plumbline.constraints.evolution.residual",
    "plumbline.constraints.kolmogorov.residual",
    "plumbline.constraints.divergence",
    "plumbline.constraints.linear.equality",
    "plumbline.constraints.linear.maps",
    "plumbline.constraints.linear.rows",
    "plumbline.constraints.tiling.repetition",
    "plumbline.distributions",
    "plumbline.models.analytic_mirror.map",
    "plumbline.models.constrained_diffusion.conditioned",
    "plumbline.models.constrained_diffusion.null_space",
    "plumbline.models.diffusion.model",
    "plumbline.models.diffusion.schedules",
    "plumbline.models.dual_diffusion.disjoint",
    "plumbline.models.dual_diffusion.divergence",
    "plumbline.models.gaussian.model",
    "plumbline.models.gradient_estimator.model",
    "plumbline.models.graph_filter",
    "plumbline.models.latent",
    "plumbline.models.mirror_map.map",
    "plumbline.models.multipliers",
    "plumbline.models.node_regression.ragged",
    "plumbline.models.outputs.feasible",
    "plumbline.models.portfolio.learned",
    "plumbline.models.restorer",
    "plumbline.models.spaces",
    "plumbline.models.vae.autoencoder",
    "plumbline.networks.blocks",
    "plumbline.networks.convolutional",
    "plumbline.networks.graph.gated",
    "plumbline.networks.graph_filter",
    "plumbline.networks.input_convex.gradient",
    "plumbline.networks.latent",
    "plumbline.networks.mlp.backbone",
    "plumbline.networks.perceptron.network",
    "plumbline.networks.resnet.generator",
    "plumbline.networks.tiled.picture",
    "plumbline.networks.unet.backbone",
    "plumbline.observations.selected.observation",
    "plumbline.solvers",
)
if os.environ.get("PLUMBLINE_CHECK_SHAPES"):
    install_import_hook(CHECKED, "beartype.beartype")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

# The same examples every time: a failure is a change of ours, never of the draw.
hypothesis.settings.register_profile("plumbline", derandomize=True, deadline=None)
hypothesis.settings.load_profile("plumbline")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def exact_gaussian():
    """Makes the exact denoiser of a Gaussian in the plane, which takes its mean and deviation for the units that it works in."""
    import numpy as np
    import xarray as xr

    from plumbline.models import Foundation
    from plumbline.models.gaussian import FittedGaussianSpec

    example = xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})

    def made(mean, deviation):
        torch.manual_seed(0)
        points = torch.randn(4000, 2)
        points = (points - points.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(points.T.cov())).T
        model = FittedGaussianSpec(scaling="global").build(Foundation(example))
        model.prepare({"state": torch.tensor(mean) + deviation * points})
        return model.eval().requires_grad_(False)

    return made
