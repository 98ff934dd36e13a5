"""Trained models on disk, and the shape of the data that they are built for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from plumbline.constraints import Constraint, ConstraintSpec
from plumbline.models import BuildContext, ModelSpec
from plumbline.plan import CARD, CHECKPOINTS, LOG, WEIGHTS
from plumbline.spec import of_kind
from plumbline.storage import CorruptStoreError
from plumbline.storage.store import partial_of, provenance, replace_durably
from plumbline.storage.tensors import read_tensors, write_tensors
from plumbline.training.log import read_log

DIGEST = "digest"
"""Key of a card with the SHA-256 of the others."""


class WeightsError(ValueError):
    """Weights do not fit the model that they are loaded into."""


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
    return of_kind(ModelSpec, values["model"]).build(BuildContext(example, constraints, models))


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
        name: of_kind(ConstraintSpec, spec).build(example).bind_models(trained)
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


def save_model(model: nn.Module, folder: Path, spec: str, identity: str) -> None:
    """Writes weights.pt and model.json, each under a temporary name first.

    The card has the digest of the training log beside it, if there is one, and one of itself.

    Args:
        model: the trained model.
        folder: where to.
        spec: the slice of the training.
        identity: what the training depended on, seed and data included.
    """
    write_tensors({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    card = {"spec": json.loads(spec), "identity": identity, "parameters": parameters, **provenance(spec)}
    if (folder / LOG).exists():
        card[LOG] = _file_digest(folder / LOG)
    partial = partial_of(folder / CARD)
    partial.write_text(json.dumps({**card, DIGEST: _card_digest(card)}, indent=2))
    replace_durably(partial, folder / CARD)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a trained model: its slice, its identity, the number of its parameters and its provenance.

    Raises:
        CorruptStoreError: there is no readable card, or it is not what was written.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        if not isinstance(card.get("spec"), dict) or not isinstance(card.get("parameters"), int):
            raise ValueError("it does not say what the model is")
        if card.pop(DIGEST, None) not in (None, _card_digest(card)):
            raise ValueError("it is not what was written")
    except Exception as error:
        raise CorruptStoreError(_unreadable(folder / CARD, error)) from error
    return dict(card)


def read_training_log(folder: Path) -> list[dict[str, float]]:
    """The rows of the log of a trained model.

    Raises:
        CorruptStoreError: there is no readable log or card, or the log is not what the card is of.
    """
    written = read_card(folder).get(LOG)
    try:
        if written not in (None, _file_digest(folder / LOG)):
            raise ValueError("it is not what was written")
        return read_log(folder / LOG)
    except Exception as error:
        raise CorruptStoreError(_unreadable(folder / LOG, error)) from error


def is_saved(folder: Path, identity: str, since: float) -> bool:
    """Whether a folder holds the whole result of a training of this identity that ended after a time (`time.time()`)."""
    try:
        return (
            bool(read_card(folder)["identity"] == identity)
            and (folder / CARD).stat().st_mtime >= since
            and all((folder / name).exists() for name in (WEIGHTS, LOG, CHECKPOINTS))
        )
    except (CorruptStoreError, OSError, KeyError):
        return False


def load_model(folder: Path, example: xr.Dataset) -> Any:
    """A trained model, ready to draw from.

    Raises:
        CorruptStoreError: the folder holds no readable model.
    """
    slice_of_model = read_card(folder)["spec"]
    try:
        of_kind(ModelSpec, slice_of_model["model"])
    except Exception as error:
        raise CorruptStoreError(_unreadable(folder / CARD, error)) from error
    weights = load_weights(folder)
    model = build_model(slice_of_model, example, {})
    require_fit(weights, model, folder / WEIGHTS)
    model.load_state_dict(weights)
    return model.eval()


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a trained model by name.

    Raises:
        CorruptStoreError: there are none, or they hold numbers that are not finite.
    """
    path = folder / WEIGHTS
    try:
        weights = read_tensors(path)
        if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
            raise TypeError("expected tensors by name")
    except Exception as error:
        raise CorruptStoreError(_unreadable(path, error)) from error
    bad = [name for name, t in weights.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise CorruptStoreError(
            f"{path}: {len(bad)} of {len(weights)} tensors hold numbers that are not finite, the first of them {bad[0]}. "
            f"Delete {folder} and run again: the training will be repeated."
        )
    return weights


def require_fit(weights: Mapping[str, torch.Tensor], model: nn.Module, path: Path) -> None:
    """Checks that weights are those of a model like this.

    Raises:
        WeightsError: names or shapes differ, or numbers are of another precision.
    """
    own = model.state_dict()
    if set(weights) != set(own):
        prefixed = weights and all(name.startswith("module.") for name in weights)
        missing, strange = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
        hint = ": save those of the wrapped module, without the prefix `module.`" if prefixed else ""
        raise WeightsError(
            f"{path} holds the weights of another model: {len(missing)} tensors are missing "
            f"({', '.join(missing[:2]) or '-'}) and {len(strange)} unknown ({', '.join(strange[:2]) or '-'}){hint}."
        )
    for name, tensor in own.items():
        found = weights[name]
        # A training in double precision leaves double weights, which are drawn from in single.
        narrower = found.dtype.is_floating_point and found.dtype.itemsize < tensor.dtype.itemsize
        other = found.dtype.is_floating_point != tensor.dtype.is_floating_point
        if found.shape != tensor.shape or narrower or other:
            raise WeightsError(
                f"{path} holds the weights of another model: {name} has the shape {tuple(found.shape)} and the type "
                f"{found.dtype}, expected {tuple(tensor.shape)} and {tensor.dtype}."
            )


def _card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unreadable(path: Path, error: Exception) -> str:
    # torch advises at length, and in colours: its first sentence says what is wrong.
    reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "no further reason"
    return (
        f"{path} cannot be read ({type(error).__name__}: {reason}). Delete {path.parent} and run the workflow again: the "
        f"training will be repeated."
    )
