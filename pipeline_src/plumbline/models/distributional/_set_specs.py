"""Specs of the constraint distributions: part of the training data, another dataset, or model samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import model_validator

from plumbline.datasets import AnyDataset
from plumbline.samplers import AnyDenoisingSampler
from plumbline.spec import Spec, key

Objective = Literal["data", "largest_divergence", "largest_cross_entropy"]
"""What is minimised: the divergence from the data, or the largest divergence or cross-entropy of the sets."""


ThresholdUnit = Literal["nats", "loss"]
"""The unit of thresholds: nats of a divergence, or that of a denoising loss."""


def constrained_columns(
    sets: Iterable[str], objective: Objective, unit: ThresholdUnit = "nats"
) -> dict[str, str]:
    """The columns of the training log that are constrained, by the names of the sets."""
    quantity = "cross_entropy" if objective == "largest_cross_entropy" else "divergence"
    if unit == "loss":
        quantity = "set_loss"
    return {name: f"{quantity}_{name}" for name in sets}


class DrawnSetSpec(Spec):
    """Samples of a trained diffusion model."""

    model: str
    """Name of the model."""
    sampler: AnyDenoisingSampler
    """Sampler of the model."""
    samples: int = key("samples", ge=2, default=4096)
    """Number of samples, drawn once before the training."""


class ConstraintSetSpec(Spec):
    """A distribution that the model must stay close to.

    It is part of the training data, another dataset, or samples of a model.
    """

    where: dict[str, tuple[int, ...]] | None = None
    """Values of integer variables, such as `label`, by which a training sample belongs to the set."""
    dataset: AnyDataset | None = None
    """Dataset whose train split is the set, in place of `where`; samples must have the study's shape."""
    drawn: DrawnSetSpec | None = None
    """Model that the set is drawn from, in place of `where`."""
    threshold: float | None = key("nats", ge=0, default=None)
    """b in KL(q_i || p) <= b; for disjoint sets, b = -log w requires a fraction w of generated samples. With
    `unit: loss`, the largest mean denoising loss of the set."""
    oracle: str | None = None
    """Name of a diffusion model of the set; null for the one that it is drawn from, or to learn one by
    conditioning the model's network on the set. Cross-entropies need none."""

    def known_by(self) -> str | None:
        """Name of the trained model of the set; None if there is none."""
        return self.oracle or (self.drawn.model if self.drawn else None)

    @model_validator(mode="after")
    def _one_source(self) -> ConstraintSetSpec:
        if [self.where, self.dataset, self.drawn].count(None) != 2:
            raise ValueError("needs one of `where`, `dataset` and `drawn`, which define the set")
        return self
