"""train: one model with one seed."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import xarray as xr
from torch import nn

from plumbline.models import ModelSpec
from plumbline.models.spaces.example import batch_of
from plumbline.spec import of_kind
from plumbline.stages.trained import CHECKPOINTS, build_model, example_of, load_models, save_model
from plumbline.store import open_parts, select_split
from plumbline.training import is_first_process
from plumbline.training import train as run_training


def train(
    spec: str,
    *,
    seed: int,
    dataset: Sequence[Path],
    output: Path,
    models: Sequence[Path] = (),
    initialise: Path | None = None,
) -> None:
    """Trains the model of the slice `spec` (JSON) on the train split.

    Args:
        spec: the model, the constraints that it is built with, and the slices of the models that it stands on.
        seed: seed of weights, batches and noise.
        dataset: the parts of the dataset.
        output: folder for weights.pt, training_log.csv, model.json, and a folder of numbered checkpoints, each like
            it but for the log.
        models: folders of the trained models that it is built with, in the order of its slice.
        initialise: folder of a trained model of the same shape to start from.
    """
    opened = open_parts(dataset)
    values = json.loads(spec)
    own = of_kind(ModelSpec, values["model"])
    training = own.training

    def split(name: str) -> xr.Dataset:
        if own.dataset is None:
            return select_split(opened, name)
        return own.dataset.draw_matching(name, opened["state"].shape[1:], "dataset")

    data = batch_of(split("train").isel(sample=slice(0, training.samples)))
    validation = batch_of(split("validation")) if training.validate_every else {}
    seed += training.seed_offset
    torch.manual_seed(seed)
    below = load_models([*values["models"], *values["measured_by"]], models, example_of(opened))
    model = build_model(values, opened, below)
    started = time.perf_counter()
    model.prepare(data)
    spent = time.perf_counter() - started
    if initialise is not None:
        started_from = torch.load(initialise / "weights.pt", weights_only=True)
        getattr(model, "start_from", model.load_state_dict)(started_from)
    depends_on = "".join([spec, str(seed), *(str(path) for path in (*dataset, *models)), str(initialise)])
    identity = hashlib.sha256(depends_on.encode()).hexdigest()
    # Named for the training that they belong to, lest another one that is resumed here takes them for its own.
    checkpoints = output / f"checkpoints-{identity[:10]}.partial"
    checkpoints.mkdir(parents=True, exist_ok=True)
    trained = run_training(
        model,
        data,
        training,
        validation=validation,
        seed=seed,
        folder=output,
        identity=identity,
        keep=partial(_keep, checkpoints, spec),
        spent=spent,
    )
    if is_first_process():
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
        checkpoints.rename(output / CHECKPOINTS)
        for left in output.glob("checkpoints-*.partial"):
            shutil.rmtree(left)
        save_model(trained, output, spec)


def _keep(folder: Path, spec: str, model: nn.Module, step: int) -> None:
    own = folder / f"step{step}"
    own.mkdir(exist_ok=True)
    save_model(model, own, spec)
