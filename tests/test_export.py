"""Exported denoisers give the means of the model, in a process without this library."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from plumbline.datasets import CombustionSpec
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.export import ExportError, export_denoiser
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec

OUTSIDE = """
import json, sys
sys.modules["plumbline"] = None  # whatever imports it fails
sys.path.insert(0, sys.argv[1])
import torch
from azula.sample import DDIMSampler
from denoiser import load

denoiser = load(sys.argv[1])
given = torch.load(sys.argv[2])
condition = {} if "condition" not in given else {"condition": denoiser.standardise(given["condition"])}
with torch.no_grad():
    mean = denoiser(given["x_t"], given["t"], **condition).mean
    sampler = DDIMSampler(denoiser, steps=4)
    z = sampler(sampler.init((5, *denoiser.shape)), **{k: v[:5] for k, v in condition.items()})
torch.save({"mean": mean, "decoded": denoiser.decode(given["x_t"]), "drawn": z}, sys.argv[3])
"""


def build(data, **values):
    model = DiffusionSpec(network={"kind": "mlp", "width": 16, "blocks": 1}, **values).build(
        BuildContext(data)
    )
    model.prepare(batch_of(data))
    with torch.no_grad():
        for parameter in model.parameters():  # the last layer starts at zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conditioned", "schedule", "parametrisation"),
    [(False, "edm", "karras"), (True, "vp", "karras"), (False, "rectified", "velocity")],
)
def test_it_loads_without_the_library(tmp_path, conditioned, schedule, parametrisation):
    torch.manual_seed(0)
    splits = {"train": 30, "validation": 2, "test": 2}
    data = (CombustionSpec if conditioned else GaussianSpec)(parts=1, splits=splits).draw_part(0)
    model = build(data, schedule={"kind": schedule}, scaling="per_feature", parametrisation=parametrisation)
    export_denoiser(model, tmp_path / "exported")
    batch = batch_of(data)
    z = model.space.encode(batch["state"][:7])
    given = {"x_t": z, "t": torch.tensor(0.3)}
    if conditioned:
        given["condition"] = batch["condition"][:7].float()
    torch.save(given, tmp_path / "given.pt")
    names = [str(tmp_path / name) for name in ("exported", "given.pt", "found.pt")]
    done = subprocess.run([sys.executable, "-c", OUTSIDE, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(tmp_path / "found.pt")
    with torch.no_grad():
        conditions = model.conditions({name: tensor[:7] for name, tensor in batch.items()})
        expected = model.denoiser(z, torch.tensor(0.3), **conditions).mean
    torch.testing.assert_close(found["mean"], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        found["decoded"], batch["state"][:7].to(found["decoded"]), rtol=1e-4, atol=1e-5
    )
    assert np.isfinite(found["drawn"].numpy()).all() and found["drawn"].shape == (5, *model.space.shape)
    about = json.loads((tmp_path / "exported" / "about.json").read_text())
    assert about["shape"] == list(model.space.shape)


def test_what_cannot_be_exported_is_refused(tmp_path):
    data = GaussianSpec(parts=1, splits={"train": 30, "validation": 2, "test": 2}).draw_part(0)
    with pytest.raises(ExportError, match="a FittedGaussian is not a diffusion model in standardised data"):
        export_denoiser(FittedGaussianSpec().build(BuildContext(data)), tmp_path / "new")
    coloured = build(data, noise={"kind": "gaussian_field", "grid_dimensions": 1})
    with pytest.raises(ExportError, match="with white noise"):
        export_denoiser(coloured, tmp_path / "new")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(ExportError, match="is not empty: name a new folder"):
        export_denoiser(build(data), tmp_path / "used")
