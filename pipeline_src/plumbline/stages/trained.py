"""Trained models on disk: building, saving, loading and verifying them."""

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
from plumbline.models import BuildContext, ModelSpec, PreparingInBlocks
from plumbline.plan import CARD, LOG, OF_TRAINING, WEIGHTS
from plumbline.spec import of_kind
from plumbline.storage import CorruptStoreError
from plumbline.storage.partial import partial_of
from plumbline.storage.store import provenance, replace_durably
from plumbline.storage.tensors import read_tensors, write_tensors
from plumbline.training.log import read_log

DIGEST = "digest"
"""Key of a card with the SHA-256 of its other keys."""


class WeightsError(ValueError):
    """Weights do not fit the model that they are loaded into."""


class NotInBlocksError(ValueError):
    """A model needs its whole train split, which does not fit into memory."""


def build_model(values: dict[str, Any], example: xr.Dataset, trained: Mapping[str, nn.Module]) -> nn.Module:
    """Builds an untrained model, with the interface described in `plumbline.models`.

    Args:
        values: the values of its slice.
        example: one sample, which defines the shape of the data.
        trained: trained models that it depends on, by name. The others are built untrained: the weights of
            this model include theirs.
    """
    models = {
        name: trained[name] if name in trained else build_model(below, example, {})
        for name, below in values["models"].items()
    }
    constraints = build_constraints(values["constraints"], example, trained)
    return of_kind(ModelSpec, values["model"]).build(BuildContext(example, constraints, models))


def in_blocks(model: nn.Module) -> PreparingInBlocks:
    """The model, which must be one that can be prepared from blocks of its training data.

    Raises:
        NotInBlocksError: it is not.
    """
    if not isinstance(model, PreparingInBlocks):
        raise NotInBlocksError(
            "this kind of model is prepared from the whole train split at once, which is larger than "
            "`memory`: raise `memory`, or set `training.samples` to train it on fewer samples."
        )
    return model


def build_constraints(
    values: dict[str, Any], example: xr.Dataset, trained: Mapping[str, nn.Module]
) -> dict[str, Constraint]:
    """Builds constraints by name, not yet bound to samples.

    Args:
        values: the values of their specs, by name.
        example: one sample, which defines the shape of the data.
        trained: the models that they use, by name. A constraint whose model is missing is built, but cannot
            be evaluated.
    """
    return {
        name: of_kind(ConstraintSpec, spec).build(example).bind_models(trained)
        for name, spec in values.items()
    }


def load_models(names: Iterable[str], folders: Sequence[Path], example: xr.Dataset) -> dict[str, nn.Module]:
    """Loads trained models by name, with frozen weights.

    Raises:
        CorruptStoreError: a folder contains no readable model.
    """
    return {
        name: load_model(folder, example).requires_grad_(False)
        for name, folder in zip(names, folders, strict=True)
    }


def example_of(dataset: xr.Dataset) -> xr.Dataset:
    """The first sample of a dataset, with all variables that do not depend on samples."""
    return dataset.isel(sample=slice(0, 1)).load()


def save_model(model: nn.Module, folder: Path, spec: str, identity: str) -> None:
    """Writes weights.pt and the card model.json, each under a temporary name first.

    The card contains its own digest, and the digest of the training log if there is one in the folder.

    Args:
        model: the trained model.
        folder: the folder to write to.
        spec: the slice of the training.
        identity: digest of everything that the training depended on, including seed and data.
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
    """Reads the card of a trained model: its slice, identity, number of parameters and provenance.

    Raises:
        CorruptStoreError: there is no readable card, or it has changed since it was written.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        if not isinstance(card.get("spec"), dict) or not isinstance(card.get("parameters"), int):
            raise ValueError("it does not describe a model")
        if card.pop(DIGEST, None) not in (None, _card_digest(card)):
            raise ValueError("it has changed since it was written")
    except Exception as error:
        raise CorruptStoreError(_unreadable(folder / CARD, error)) from error
    return dict(card)


def read_training_log(folder: Path) -> list[dict[str, float]]:
    """Reads the rows of the training log of a model.

    Raises:
        CorruptStoreError: there is no readable log or card, or the log differs from the digest in the card.
    """
    written = read_card(folder).get(LOG)
    try:
        if written not in (None, _file_digest(folder / LOG)):
            raise ValueError("it has changed since it was written")
        return read_log(folder / LOG)
    except Exception as error:
        raise CorruptStoreError(_unreadable(folder / LOG, error)) from error


def is_saved(folder: Path, identity: str, since: float) -> bool:
    """Whether a folder contains the complete result of a training.

    Args:
        folder: the folder.
        identity: the identity of the training.
        since: the training must have ended at or after this time, as of `time.time()`.
    """
    try:
        return (
            bool(read_card(folder)["identity"] == identity)
            and (folder / CARD).stat().st_mtime >= since
            and all((folder / name).exists() for name in OF_TRAINING)
        )
    except (CorruptStoreError, OSError, KeyError):
        return False


def load_model(folder: Path, example: xr.Dataset) -> nn.Module:
    """Loads a trained model in evaluation mode.

    Args:
        folder: the model's folder.
        example: one sample, which defines the shape of the data.

    Raises:
        CorruptStoreError: the folder contains no readable model.
        WeightsError: the weights do not fit the model.
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
    """Loads the tensors of a trained model by name.

    Raises:
        CorruptStoreError: there are no readable tensors, or some values are not finite.
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
            f"{path}: {len(bad)} of {len(weights)} tensors contain values that are not finite, the first of "
            f"them {bad[0]}. Delete {folder} and run again: the training will be repeated."
        )
    return weights


def require_fit(weights: Mapping[str, torch.Tensor], model: nn.Module, path: Path) -> None:
    """Checks that weights fit a model.

    Args:
        weights: the tensors by name.
        model: the model.
        path: the file of the weights, for the message.

    Raises:
        WeightsError: names or shapes differ, or a tensor has another or a narrower type.
    """
    own = model.state_dict()
    if set(weights) != set(own):
        prefixed = weights and all(name.startswith("module.") for name in weights)
        missing, strange = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
        hint = ": save those of the wrapped module, without the prefix `module.`" if prefixed else ""
        raise WeightsError(
            f"{path} holds the weights of another model: {len(missing)} tensors are missing "
            f"({', '.join(missing[:2]) or '-'}) and {len(strange)} are unknown "
            f"({', '.join(strange[:2]) or '-'}){hint}."
        )
    for name, tensor in own.items():
        found = weights[name]
        # A training in double precision writes double weights, which are loaded into single precision.
        narrower = found.dtype.is_floating_point and found.dtype.itemsize < tensor.dtype.itemsize
        other = found.dtype.is_floating_point != tensor.dtype.is_floating_point
        if found.shape != tensor.shape or narrower or other:
            raise WeightsError(
                f"{path} holds the weights of another model: {name} has the shape {tuple(found.shape)} and "
                f"the type {found.dtype}, expected {tuple(tensor.shape)} and {tensor.dtype}."
            )


def _card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unreadable(path: Path, error: Exception) -> str:
    # Errors of torch are long and contain colour codes. The first sentence states the cause.
    reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "no further reason"
    return (
        f"{path} cannot be read ({type(error).__name__}: {reason}). Delete {path.parent} and run the "
        f"workflow again: the training will be repeated."
    )
