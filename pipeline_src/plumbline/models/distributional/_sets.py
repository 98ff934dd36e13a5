"""Samples of the constraint distributions: training data, other datasets, or samples of models."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from plumbline.models import Denoising
from plumbline.models._preparing import SampleBlock, first_samples
from plumbline.models.distributional._set_specs import ConstraintSetSpec, DrawnSetSpec
from plumbline.samplers import DenoisingSpec
from plumbline.samplers._drawing import drawn_for, where_drawing_is_fast

Samples = dict[str, Tensor]
"""Variables of samples by name."""


def read_set(name: str, spec: ConstraintSetSpec, blocks: Iterable[SampleBlock]) -> Samples:
    """The samples of a set.

    Raises:
        ValueError: there are none, or a variable that defines the set is not in the data, or shapes differ.
    """
    if spec.dataset is not None:
        first = next(iter(blocks))
        drawn = spec.dataset.draw_matching("train", tuple(first["state"].shape[1:]), f"sets.{name}.dataset")
        return {key: torch.as_tensor(drawn[key].values) for key in first if key in drawn}
    found = []
    for block in blocks:
        members = _members(name, spec, block)
        if bool(members.any()):
            found.append({key: block[key][members] for key in block})
    if not found:
        raise ValueError(f"`sets.{name}.where`: no training sample belongs to this set, {spec.where}.")
    return {key: torch.cat([some[key] for some in found]) for key in found[0]}


def drawn_set(spec: DrawnSetSpec, model: Denoising, blocks: Iterable[SampleBlock]) -> Samples:
    """Draws the requested number of samples from a trained model, cycling through the samples of the data."""
    assert isinstance(spec.sampler, DenoisingSpec) and isinstance(model, nn.Module)
    data = first_samples(blocks, spec.samples)
    states = data["state"]
    rows = torch.arange(spec.samples) % len(states)
    given = {name: tensor[rows] for name, tensor in data.items()}
    with where_drawing_is_fast(model, states.device) as device:
        drawn = torch.cat(list(drawn_for(model, spec.sampler, given, device)))
    return given | {"state": drawn.to(states.device)}


def fraction_of(spec: ConstraintSetSpec, blocks: Iterable[SampleBlock]) -> float:
    """The fraction of the training data that belongs to a set; zero for sets that come from elsewhere."""
    if spec.where is None:
        return 0.0
    members = torch.cat([_members("", spec, block) for block in blocks])
    return float(members.float().mean())


def _members(name: str, spec: ConstraintSetSpec, data: SampleBlock) -> Tensor:
    """Whether each sample belongs to a set that `where` defines."""
    members: Tensor | bool = True
    for variable, values in (spec.where or {}).items():
        if variable not in data or data[variable].ndim != 1:
            known = [key for key in data if data[key].ndim == 1]
            raise ValueError(
                f"`sets.{name}.where`: the dataset has no variable {variable!r} with one number per sample; "
                f"it has {known}."
            )
        # `isin` takes no booleans: they become ones and zeros.
        found = data[variable].long() if data[variable].dtype == torch.bool else data[variable]
        members = torch.isin(found, torch.tensor(values)) & members
    return members if isinstance(members, Tensor) else torch.ones(len(data["state"]), dtype=torch.bool)
