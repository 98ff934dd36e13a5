"""train: one model with one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from plumbline.models import ModelSpec
from plumbline.spec import of_kind
from plumbline.stages.trained import batch_of, build_model, example_of, load_models, save_model
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
        output: folder for weights.pt, training_log.csv and model.json.
        models: folders of the trained models that it is built with, in the order of its slice.
        initialise: folder of a trained model of the same shape to start from.
    """
    opened = open_parts(dataset)
    values = json.loads(spec)
    training = of_kind(ModelSpec, values["model"]).training
    data = batch_of(select_split(opened, "train").isel(sample=slice(0, training.samples)))
    validation = batch_of(select_split(opened, "validation")) if training.validate_every else {}
    seed += training.seed_offset
    torch.manual_seed(seed)
    below = load_models([*values["models"], *values["measured_by"]], models, example_of(opened))
    model = build_model(values, opened, below)
    model.prepare(data)
    if initialise is not None:
        model.load_state_dict(torch.load(initialise / "weights.pt", weights_only=True))
    depends_on = "".join([spec, str(seed), *(str(path) for path in (*dataset, *models)), str(initialise)])
    identity = hashlib.sha256(depends_on.encode()).hexdigest()
    trained = run_training(
        model, data, training, validation=validation, seed=seed, folder=output, identity=identity
    )
    if is_first_process():
        save_model(trained, output, spec)
