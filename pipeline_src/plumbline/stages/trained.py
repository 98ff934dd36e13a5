"""Trained models on disk, and the shape of the data that they are built for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from plumbline.constraints import Constraint, ConstraintSpec
from plumbline.models import Foundation, ModelSpec
from plumbline.spec import of_kind
from plumbline.store import CorruptStoreError, provenance

CHECKPOINTS = "checkpoints"
"""Folder, below a model's own, of its numbered checkpoints."""


def build_model(values: dict[str, Any], example: xr.Dataset, trained: Mapping[str, nn.Module]) -> Any:
    """An untrained model from the values of its slice: a module with the interface in `plumbline.models`.

    Args:
        values: the slice.
        example: the shape of the data.
        trained: models that it stands on, by name. Others are built untrained: their weights are among its own.
    """
    models = {
        name: trained[name] if name in trained else build_model(below, example, {})
        for name, below in values["models"].items()
    }
    constraints = build_constraints(values["constraints"], example, trained)
    return of_kind(ModelSpec, values["model"]).build(Foundation(example, constraints, models))


def build_constraints(
    values: dict[str, Any], example: xr.Dataset, trained: Mapping[str, nn.Module]
) -> dict[str, Constraint]:
    """Constraints by name from the values of their specs, not yet bound to samples.

    Args:
        values: the specs by name.
        example: the shape of the data.
        trained: the models that they measure by. One that lacks its own can be built, but not asked.
    """
    return {
        name: of_kind(ConstraintSpec, spec).build(example).standing_on(trained)
        for name, spec in values.items()
    }


def load_models(names: Iterable[str], folders: Sequence[Path], example: xr.Dataset) -> dict[str, nn.Module]:
    """Trained models by name, with weights that stay as they are."""
    return {
        name: load_model(folder, example).requires_grad_(False)
        for name, folder in zip(names, folders, strict=True)
    }


def example_of(dataset: xr.Dataset) -> xr.Dataset:
    """The first sample with everything that does not depend on samples: the shape of the data."""
    return dataset.isel(sample=slice(0, 1)).load()


def save_model(model: nn.Module, folder: Path, spec: str) -> None:
    """Writes weights.pt and model.json, each under a temporary name first."""
    partial = folder / "weights.partial"
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, partial)
    os.replace(partial, folder / "weights.pt")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    card = {"spec": json.loads(spec), "parameters": parameters, **provenance(spec)}
    partial = folder / "model.partial"
    partial.write_text(json.dumps(card, indent=2))
    os.replace(partial, folder / "model.json")


def load_model(folder: Path, example: xr.Dataset) -> Any:
    """A trained model, ready to draw from.

    Raises:
        CorruptStoreError: the folder holds no readable model.
    """
    try:
        card = json.loads((folder / "model.json").read_text())
        weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise CorruptStoreError(
            f"{folder} holds no readable model ({type(error).__name__}: {error}). Delete it and run again."
        ) from error
    model = build_model(card["spec"], example, {})
    model.load_state_dict(weights)
    return model.eval()
