"""The constraint distributions as samples: parts of the training data, or datasets of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from plumbline.models.dual_diffusion import ConstraintSetSpec

Samples = dict[str, Tensor]
"""Variables of samples by name."""


def read_set(name: str, spec: ConstraintSetSpec, data: Samples) -> Samples:
    """The samples of a set.

    Raises:
        ValueError: there are none, or a variable that the set is told by is not in the data, or shapes differ.
    """
    if spec.dataset is None:
        members = _members(name, spec, data)
        if not bool(members.any()):
            raise ValueError(f"`sets.{name}.where`: no training sample is of this set, {spec.where}.")
        return {key: tensor[members] for key, tensor in data.items()}
    drawn = spec.dataset.draw_split("train")
    samples = {key: torch.as_tensor(drawn[key].values) for key in data if key in drawn}
    if samples["state"].shape[1:] != data["state"].shape[1:]:
        raise ValueError(
            f"`sets.{name}.dataset`: samples of the shape {tuple(samples['state'].shape[1:])}, where those of the study "
            f"have {tuple(data['state'].shape[1:])}."
        )
    return samples


def share_of(spec: ConstraintSetSpec, data: Samples) -> float:
    """The share of a set in the training data; none of a dataset of its own."""
    return float(_members("", spec, data).float().mean()) if spec.dataset is None else 0.0


def _members(name: str, spec: ConstraintSetSpec, data: Samples) -> Tensor:
    members = torch.ones(len(data["state"]), dtype=torch.bool)
    for variable, values in (spec.where or {}).items():
        if variable not in data or data[variable].ndim != 1:
            known = [key for key, tensor in data.items() if tensor.ndim == 1]
            raise ValueError(
                f"`sets.{name}.where`: the dataset has no variable {variable!r} with one number a sample; it has {known}."
            )
        members &= torch.isin(data[variable], torch.tensor(values))
    return members
