"""Shared fixtures. Each test process uses one thread: small operations on several threads stall each other.

The shapes and types that the numerical modules declare are checked at every call while the tests of their
packages run, except in tests marked `rejects`, which pass bad input on purpose and expect the error that a
user would see.
"""

from pathlib import Path

import jaxtyping

SOURCE = Path(__file__).parents[1] / "pipeline_src"
DATA = SOURCE.parents[1] / "shared" / "data"
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


# All modules of these packages that declare shapes. The hook also covers the submodules of each entry.
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

# The same examples in every run: a failure comes from a change of the code, not from other random examples.
hypothesis.settings.register_profile("plumbline", derandomize=True, deadline=None)
hypothesis.settings.load_profile("plumbline")

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Runs the longest modules first, so that no worker is left with a long one at the end."""
    longest = {
        "test_slurm.py": 0,
        "test_faults.py": 0,
        "test_studies.py": 1,
        "test_estimation.py": 2,
        "test_studies_on_devices.py": 3,
        "test_workflow.py": 4,
        "test_rerun.py": 5,
        "test_training.py": 6,
    }
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
    """Returns a function (mean, std) -> exact denoiser of that Gaussian in the plane."""
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


def write_image(path, generator):
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)


ATTRIBUTES = "Male Young Smiling Bald Black_Hair Blond_Hair Brown_Hair Eyeglasses No_Beard Wearing_Hat"


def write_faces(folder):
    """Images with a CelebA table of attributes: every second has the first, two of three the third."""
    import numpy as np

    generator = np.random.default_rng(0)
    names = [f"{i + 1:06d}.jpg" for i in range(120)]
    for name in names:
        write_image(folder / "img_align_celeba" / name, generator)
    rest = " -1 1 -1 1 -1 1 -1"
    lines = [f"{name} {1 if i % 2 else -1} -1 {1 if i % 3 else -1}{rest}" for i, name in enumerate(names)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["120", ATTRIBUTES, *lines]))


def write_classes(folder):
    """Writes one folder of images for each of ten classes."""
    import numpy as np

    generator = np.random.default_rng(0)
    for i in range(480):
        write_image(folder / "imagenet" / f"n{i % 10:08d}" / f"{i}.JPEG", generator)


WRITTEN = {
    "fair_celeba": write_faces,
    "constrained_vae_celeba": write_faces,
    "latent_celeba": write_faces,
    "adaptation_imagenet": write_classes,
}


@pytest.fixture
def data_of_study(tmp_path, monkeypatch):
    """Returns a function that goes to a folder with the data files of a bundled study, given its name.

    Published files are those under `../shared/data`, if they are there. CelebA and ImageNet are small folders
    of the same format.
    """

    def prepared(name):
        if name in WRITTEN:
            WRITTEN[name](tmp_path / "data")
        elif DATA.is_dir():
            (tmp_path / "data").symlink_to(DATA)
        monkeypatch.chdir(tmp_path)

    return prepared
