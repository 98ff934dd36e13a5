"""Rehearsals report everything that cannot work, by the path of its key, before anything is trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.cli import main
from plumbline.stages import rehearse as stage
from plumbline.stages.rehearse import RehearsalError, rehearse
from plumbline.storage.store import open_parts, write_store
from plumbline.study import Study, load_study
from plumbline.training import TrainingSpec

ROOT = Path(__file__).parents[2]

TRAINING = {"steps": 10**6, "batch": 8, "accelerator": "cpu"}


def study(**changes):
    """A study of six coordinates and a condition, with exchangeable parts."""
    return {
        "name": "mine", "title": "t", "description": "d",
        "dataset": {"kind": "stored", "path": "x.zarr", "splits": {"train": 8, "validation": 4, "test": 4}},
        "constraints": {"total": {"kind": "sum", "total": 1.0, "blocks": 2}},
        "models": {
            "free": {"kind": "diffusion", "network": {"kind": "mlp", "width": 8}, "training": TRAINING},
            "second": {
                "kind": "diffusion", "network": {"kind": "mlp", "width": 8}, "training": TRAINING,
                "initialise": "free",
            },
        },
        "methods": {
            "plain": {"model": "second", "sampler": {"kind": "heun", "steps": 1000}},
            "exact": {
                "model": "free",
                "sampler": {"kind": "conditioned", "constraint": "total",
                    "base": {"kind": "heun", "steps": 1000}},
            },
        },
        "metrics": {"distance": {"kind": "constraint_distance"}, "mmd": {"kind": "mmd"}},
        "samples": {"count": 4}, "seeds": [0],
    } | changes  # fmt: skip


@pytest.fixture
def part(tmp_path):
    generator = np.random.default_rng(0)
    splits = np.repeat(["train", "validation", "test"], [8, 4, 4]).astype(object)
    data = xr.Dataset(
        {
            "state": (("sample", "part"), generator.random((16, 6)).astype("f4")),
            "condition": (("sample", "component"), generator.random((16, 2)).astype("f4")),
            "matrix": (("equality", "part"), np.ones((2, 6))),
            "target": (("sample", "equality"), generator.random((16, 2))),
        },
        coords={"sample": np.arange(16), "split": ("sample", splits)},
    )
    write_store(data, tmp_path / "part-0000.zarr")
    return tmp_path / "part-0000.zarr"


def run(part, *studies, scale="laptop"):
    output = part.parent / "rehearsal" / "rehearsal.json"
    specs = [Study.model_validate(one).canonical() for one in studies]
    rehearse(specs, dataset=[part], scale=scale, output=output)
    return json.loads(output.read_text())


def test_what_has_been_rehearsed_is_not_again(part, monkeypatch):
    trained = []
    real = stage.train
    monkeypatch.setattr(stage, "train", lambda m, d, spec, **k: trained.append(spec) or real(m, d, spec, **k))
    other = study(name="other", metrics={"recall": {"kind": "precision_recall"}})
    assert set(run(part, study(), other).values()) == {"mine", "other"}
    # Both train the same two models, which are rehearsed once.
    assert len(trained) == 2
    run(part, study())
    assert len(trained) == 2
    assert len(run(part, study(metrics={"mmd": {"kind": "mmd"}}))) == 3
    assert len(trained) == 4


FREE = study()["models"]["free"]
FAULTS = {
    "constraints.total: 4 equal blocks do not fit 6": {
        "constraints": {"total": {"kind": "sum", "total": 1.0, "blocks": 4}}
    },
    r"constraints.total: `linear_equality`: `matrix`: the dataset has no variable 'A'; it has .*matrix": {
        "constraints": {"total": {"kind": "linear_equality", "matrix": "A", "target": "target"}}
    },
    r"constraints.total: `linear_equality`: `matrix` must have a column for each of the 6 .*\(1, 2\)": {
        "constraints": {"total": {"kind": "linear_equality", "matrix": [[1, 2]], "target": [1]}}
    },
    "constraints.total: rows of A depend on each other and k contradicts": {
        "constraints": {"total": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}}
    },
    r"constraints.equation: `burgers_residual` needs samples with the dimensions \(time, x\)": {
        "constraints": study()["constraints"] | {"equation": {"kind": "burgers_residual"}}
    },
    "models.second: models.free holds the weights of another model": {
        "models": study()["models"]
        | {"second": study()["models"]["second"] | {"network": {"kind": "mlp", "width": 16}}}
    },
    "models.free: .*U-Net|models.free: .*grid": {
        "models": {
            "free": FREE | {"network": {"kind": "unet", "channels": [8], "blocks": [1]}},
            "second": FREE,
        }
    },
    r"metrics.spectrum: `energy_spectrum` needs one or two periodic": {
        "metrics": study()["metrics"] | {"spectrum": {"kind": "energy_spectrum"}}
    },
}


@pytest.mark.parametrize("said", FAULTS)
def test_what_cannot_work_is_named_before_any_training(part, said):
    with pytest.raises(RehearsalError, match=f"mine: {said}") as refused:
        run(part, study(**FAULTS[said]))
    assert not (part.parent / "rehearsal" / "rehearsal.json").exists()
    # Models that depend on a faulty one are not reported in addition.
    assert str(refused.value).count("  - ") == 1


def test_all_faults_are_told_at_once(part, capsys):
    spec = Study.model_validate(study(**FAULTS[list(FAULTS)[4]] | FAULTS[list(FAULTS)[7]])).canonical()
    command = [
        "stage",
        "rehearse",
        "--spec",
        spec,
        "--dataset",
        str(part),
        "--scale",
        "laptop",
        "--output",
        str(part.parent / "r"),
    ]
    assert main(command) == 1
    printed = capsys.readouterr().err
    assert "mine: constraints.equation" in printed and "mine: metrics.spectrum" in printed
    assert "Traceback" not in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_asked_for_where_it_is_needed(part):
    models = {
        "free": FREE | {"training": TRAINING | {"accelerator": "gpu", "precision": "16-mixed"}},
        "second": FREE,
    }
    with pytest.raises(RehearsalError, match=r"models\.free: .*(GPU|CUDA|gpu)"):
        run(part, study(models=models))
    # At paper scale the trainings may run on another machine.
    assert set(run(part, study(models=models), scale="paper").values()) == {"mine"}


def test_nothing_is_drawn_or_learned_for_long(part, monkeypatch):
    """One step with a batch of two, and two steps of a sampler whose `steps` is a thousand."""
    seen = []
    real = stage.train
    monkeypatch.setattr(stage, "train", lambda m, d, spec, **k: seen.append(spec) or real(m, d, spec, **k))
    run(part, study())
    assert {(spec.steps, spec.batch) for spec in seen} == {(1, 2)}
    sampler = Study.model_validate(study()).methods["exact"].sampler
    assert stage.shortened(sampler, stage.MOST_STEPS).base.steps == 2


@pytest.mark.parametrize(
    "name", ["constrained_diffusion", "fair_digits", "latent_attributes", "constrained_vae"]
)
def test_models_of_studies_train_in_bfloat16(name):
    """Conditioned Gaussians are among them: their factorisations do not exist in bfloat16."""
    bundled = load_study(ROOT / "config" / "studies" / f"{name}.yaml", "smoke")
    models = {
        model: spec.model_copy(
            update={"training": spec.training.model_copy(update={"precision": "bf16-mixed"})}
        )
        for model, spec in bundled.models.items()
    }
    chosen = bundled.dataset.splits.names()
    drawn = bundled.dataset.draw(np.arange(len(chosen)), chosen)
    few = drawn.assign_coords(split=("sample", chosen.astype("<U10")), sample=np.arange(len(chosen)))
    rehearsal = stage.Rehearsal(bundled.model_copy(update={"models": models}), few, "smoke", {})
    rehearsal.run()
    assert rehearsal.faults == []
    assert set(rehearsal.models) == set(models)


def test_a_rehearsal_compiles_what_the_training_compiles(part):
    """What `torch.compile` refuses, such as the gradient of a gradient, fails before any training."""
    compiled = Study.model_validate(study())
    rehearsal = stage.Rehearsal(compiled, stage._few(open_parts([part])), "laptop", {})
    assert rehearsal._one_step(TrainingSpec(compile=True)).compile


NEEDS_ALL = """
from typing import Literal
from torch import nn
from plumbline.models import FittedModelSpec

class NeedsAll(nn.Module):
    def prepare(self, data):
        self.count = len(data["state"])

class NeedsAllSpec(FittedModelSpec):
    kind: Literal["needs_all"] = "needs_all"

    def build(self, on):
        return NeedsAll()
"""


def test_a_model_that_needs_all_of_data_beyond_memory_is_reported(part, tmp_path):
    (tmp_path / "models.py").write_text(NEEDS_ALL)
    values = study(plugins=[str(tmp_path / "models.py")], memory=2e-7)  # 200 bytes: four samples
    values["models"]["fitted"] = {"kind": "needs_all"}
    values["models"]["enough"] = {"kind": "needs_all", "training": {"steps": 0, "samples": 3}}
    values["models"]["in_blocks"] = {"kind": "fitted_gaussian"}
    own = {"kind": "gaussian", "dimension": 6, "splits": {"train": 99, "validation": 2, "test": 2}}
    values["models"]["own"] = {
        "kind": "diffusion", "network": {"kind": "mlp"}, "dataset": own, "training": TRAINING,
        "condition_on": [],
    }  # fmt: skip
    with pytest.raises(RehearsalError) as error:
        rehearse(
            [Study.model_validate(values).model_dump_json()],
            dataset=[part],
            scale="laptop",
            output=tmp_path / "o.json",
        )
    (first, second) = str(error.value).splitlines()[1:]
    assert "models.fitted: this kind of model is prepared from the whole train split" in first
    assert "raise `memory`, or set `training.samples`" in first
    assert "models.own: `dataset`: its train split has" in second
