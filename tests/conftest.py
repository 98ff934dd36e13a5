"""Shared fixtures. One thread a test process: small operations on several threads stall each other.

The shapes and types that the numerical modules declare are checked at every call while the tests of their rooms run, except
in those that are marked `rejects`: they give bad input on purpose, and see the error that a user would see.
"""

from pathlib import Path

import jaxtyping

SOURCE = Path(__file__).parents[1] / "pipeline_src"
ROOMS = (
    "linalg",
    "solvers",
    "constraints",
    "distributions",
    "networks",
    "models",
    "observations",
    "samplers",
)


def declares_shapes(path):
    return "jaxtyping" in path.read_text(encoding="utf-8")


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


# Every module of these rooms that declares shapes. The hook also checks what lies below a package of this list.
CHECKED = sorted(
    module_name(path)
    for room in ROOMS
    for path in (SOURCE / "plumbline" / room).rglob("*.py")
    if declares_shapes(path)
)
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

    from plumbline.models import BuildContext
    from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec

    example = xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})

    def made(mean, std):
        torch.manual_seed(0)
        points = torch.randn(4000, 2)
        points = (points - points.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(points.T.cov())).T
        model = FittedGaussianSpec(scaling="global").build(BuildContext(example))
        model.prepare({"state": torch.tensor(mean) + std * points})
        return model.eval().requires_grad_(False)

    return made
