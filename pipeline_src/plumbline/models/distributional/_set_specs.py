"""What a constraint distribution is: part of the training data, a dataset of its own, or what a model draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import model_validator

from plumbline.datasets import AnyDataset
from plumbline.samplers import AnyDenoisingSampler
from plumbline.spec import Spec, key

Objective = Literal["data", "largest_divergence", "largest_cross_entropy"]
"""What is least: the divergence from the data, under thresholds; the largest divergence from a set; or the largest cross-entropy."""


def constrained_columns(sets: Iterable[str], objective: Objective) -> dict[str, str]:
    """The names in the training log of what is constrained, by the sets."""
    quantity = "cross_entropy" if objective == "largest_cross_entropy" else "divergence"
    return {name: f"{quantity}_{name}" for name in sets}


class DrawnSetSpec(Spec):
    """Samples of a trained diffusion model."""

    model: str
    """Name of the model."""
    sampler: AnyDenoisingSampler
    """How it is drawn from."""
    samples: int = key("samples", ge=2, default=4096)
    """Samples that are drawn, once, before the training."""


class ConstraintSetSpec(Spec):
    """A distribution that the model must stay near to: part of the training data, or a dataset of its own."""

    where: dict[str, tuple[int, ...]] | None = None
    """Values of whole-numbered variables, such as `label`, that make a training sample one of the set."""
    dataset: AnyDataset | None = None
    """The dataset whose train split is the set, in place of `where`; its samples have the shape of the study's."""
    drawn: DrawnSetSpec | None = None
    """The model that the set is drawn from, in place of `where`."""
    threshold: float | None = key("nats", ge=0, default=None)
    """b in KL(q_i || p) <= b. Of sets that do not overlap, a share of w in what is generated is b = -log w."""
    oracle: str | None = None
    """Name of a diffusion model that knows the set; null for the one that it is drawn from, or to learn one beside the
    model, by telling its network the set. Cross-entropies need none."""

    def known_by(self) -> str | None:
        """Name of the model that knows the set; None if there is none."""
        return self.oracle or (self.drawn.model if self.drawn else None)

    @model_validator(mode="after")
    def _one_source(self) -> ConstraintSetSpec:
        if [self.where, self.dataset, self.drawn].count(None) != 2:
            raise ValueError("needs one of `where`, `dataset` and `drawn`, which say what the set is")
        return self
