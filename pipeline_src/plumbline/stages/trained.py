"""Trained models on disk, and samples as the tensors that models take."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from plumbline.models import ModelSpec
from plumbline.spec import of_kind
from plumbline.store import CorruptStoreError, provenance


def build_model(values: dict[str, Any], example: xr.Dataset) -> Any:
    """An untrained model from the values of its spec: a module with the interface in `plumbline.models`."""
    return of_kind(ModelSpec, values).build(example)


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take."""
    names = [name for name in ("state", "condition") if name in samples]
    return {name: torch.as_tensor(samples[name].values) for name in names}


def example_of(dataset: xr.Dataset) -> xr.Dataset:
    """The first sample with everything that does not depend on samples: the shape of the data."""
    return dataset.isel(sample=slice(0, 1)).load()


def save_model(model: nn.Module, folder: Path, spec: str) -> None:
    """Writes weights.pt and model.json, each under a temporary name first."""
    partial = folder / "weights.partial"
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, partial)
    os.replace(partial, folder / "weights.pt")
    parameters = sum(p.numel() for p in model.parameters())
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
    model = build_model(card["spec"], example)
    model.load_state_dict(weights)
    return model.eval()
