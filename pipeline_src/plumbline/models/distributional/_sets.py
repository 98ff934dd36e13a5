"""Samples of the constraint distributions: training data, other datasets, or samples of models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plumbline.models import Denoising
from plumbline.models.distributional._set_specs import ConstraintSetSpec, DrawnSetSpec
from plumbline.samplers import DenoisingSpec
from plumbline.samplers._drawing import drawn_for, where_drawing_is_fast

Samples = dict[str, Tensor]
"""Variables of samples by name."""


def read_set(name: str, spec: ConstraintSetSpec, data: Samples) -> Samples:
    """The samples of a set.

    Raises:
        ValueError: there are none, or a variable that defines the set is not in the data, or shapes differ.
    """
    if spec.dataset is None:
        members = _members(name, spec, data)
        if not bool(members.any()):
            raise ValueError(f"`sets.{name}.where`: no training sample belongs to this set, {spec.where}.")
        return {key: tensor[members] for key, tensor in data.items()}
    shape = tuple(data["state"].shape[1:])
    drawn = spec.dataset.draw_matching("train", shape, f"sets.{name}.dataset")
    return {key: torch.as_tensor(drawn[key].values) for key in data if key in drawn}


def drawn_set(spec: DrawnSetSpec, model: Denoising, data: Samples) -> Samples:
    """Draws the requested number of samples from a trained model, cycling through the samples of the data."""
    assert isinstance(spec.sampler, DenoisingSpec) and isinstance(model, nn.Module)
    states = data["state"]
    rows = torch.arange(spec.samples) % len(states)
    given = {name: tensor[rows] for name, tensor in data.items()}
    with where_drawing_is_fast(model, states.device) as device:
        drawn = torch.cat(list(drawn_for(model, spec.sampler, given, device)))
    return given | {"state": drawn.to(states.device)}


def fraction_of(spec: ConstraintSetSpec, data: Samples) -> float:
    """The fraction of the training data that belongs to a set; zero for sets that come from elsewhere."""
    return float(_members("", spec, data).float().mean()) if spec.where is not None else 0.0


def _members(name: str, spec: ConstraintSetSpec, data: Samples) -> Tensor:
    members = torch.ones(len(data["state"]), dtype=torch.bool)
    for variable, values in (spec.where or {}).items():
        if variable not in data or data[variable].ndim != 1:
            known = [key for key, tensor in data.items() if tensor.ndim == 1]
            raise ValueError(
                f"`sets.{name}.where`: the dataset has no variable {variable!r} with one number per sample; "
                f"it has {known}."
            )
        # `isin` takes no booleans: they become ones and zeros.
        found = data[variable].long() if data[variable].dtype == torch.bool else data[variable]
        members &= torch.isin(found, torch.tensor(values))
    return members
