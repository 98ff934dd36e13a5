"""Models: everything that is trained or fitted, one package per family.

A model is an `nn.Module` with

- `prepare(data)`: fits, once and before training, what has a closed form (standardisation, moments);
- optionally `prepare_in_blocks(blocks)`, which fits the same to data that does not fit into memory;
- optionally `start_from(weights)`: takes over the trained weights of the model named by `initialise`; without
  this method they are loaded as the model's own state;
- `loss(batch) -> (scalar, terms)`, unless the model is fitted without gradient steps: the training loop
  minimises the scalar and logs the terms;
- optionally `after_step(terms)`, called after every optimiser step.

`data` and `batch` are dicts of tensors: the numeric variables of the dataset along `sample`, such as `state`
(B, ...) in the data's units, `condition` (B, C) where the dataset has one, and targets of constraints.

The capabilities that samplers, other models, constraints and metrics require of a model are Protocols, such
as `Denoising` or `Predictive`. `CAPABILITIES` lists all of them. A spec lists the Protocols that its model
satisfies (`provides`), and those that it requires of the models it depends on (`depends_on`). Each Protocol
is defined in the package that requires it, and this package re-exports them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeVar, overload

from pydantic import model_validator

from plumbline._capabilities import require
from plumbline.attributes import Classifying
from plumbline.constraints import Constraint, Counting, LinearEqualityConstraint
from plumbline.datasets import AnyDataset
from plumbline.models._protocols import (
    AttributePredicting,
    FeatureExtracting,
    Labelled,
    MirrorMap,
    Restoring,
)
from plumbline.models._protocols import Preparing as Preparing
from plumbline.models._protocols import PreparingInBlocks as PreparingInBlocks
from plumbline.models._protocols import TakesOverWeights as TakesOverWeights
from plumbline.samplers import (
    ConditionDropping,
    Criticising,
    Denoising,
    LabelCriticising,
    LatentEditing,
    LatentVariable,
    PosteriorEncoding,
    Predictive,
    PriorSampling,
    Rewarding,
    Transporting,
)
from plumbline.spec import ByKind, Kind
from plumbline.training import Trainable as Trainable
from plumbline.training import TrainingSpec
from plumbline.training import UpdatesAfterStep as UpdatesAfterStep

if TYPE_CHECKING:
    import xarray as xr
    from torch import nn
    from typing_extensions import TypeForm

T = TypeVar("T")

CAPABILITIES: tuple[type, ...] = (
    Transporting,
    Denoising,
    ConditionDropping,
    Predictive,
    PriorSampling,
    LatentVariable,
    PosteriorEncoding,
    LatentEditing,
    Criticising,
    LabelCriticising,
    Rewarding,
    MirrorMap,
    Restoring,
    Labelled,
    Classifying,
    AttributePredicting,
    FeatureExtracting,
    Counting,
)
"""The Protocols that models may provide, required by samplers, models, constraints and metrics."""


@dataclass(frozen=True)
class BuildContext:
    """The data, constraints and models that a model is built from.

    Attributes:
        example: a sample of the dataset with its coordinates and attributes, which gives the shape of the
            data.
        constraints: the constraints that the model names, by name.
        models: the models that it depends on, by name.
    """

    example: xr.Dataset
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    models: Mapping[str, nn.Module] = field(default_factory=dict)

    def model(self, name: str, capability: TypeForm[T]) -> T:
        """The model of this name, which must satisfy a Protocol.

        Raises:
            TypeError: it does not satisfy the Protocol.
        """
        return require(self.models[name], capability, name)

    @overload
    def linear(self, name: str) -> LinearEqualityConstraint: ...
    @overload
    def linear(self, name: str | None) -> LinearEqualityConstraint | None: ...
    def linear(self, name: str | None) -> LinearEqualityConstraint | None:
        """The constraint of this name, which must be a linear equality; None if the name is None.

        Raises:
            TypeError: it is not a linear equality.
        """
        return None if name is None else require(self.constraints[name], LinearEqualityConstraint, name)


class ModelSpec(Kind):
    """Base of the model kinds."""

    training: TrainingSpec = TrainingSpec()
    """How the model is trained."""
    initialise: str | None = None
    """Name of a model with a network of the same shape, whose trained weights this model starts from."""
    dataset: AnyDataset | None = None
    """Dataset to train on in place of the study's, with samples of the same shape; null for the study's."""

    def build(self, on: BuildContext) -> nn.Module:
        """Builds an untrained model."""
        raise NotImplementedError

    def constraint_names(self) -> list[str]:
        """Names of the study's constraints that the model is built with."""
        return []

    def constraint_key(self, name: str) -> str:
        """Path of the key that names this constraint, for messages."""
        return "constraint"

    def requires(self) -> tuple[type, ...]:
        """The Protocols that these constraints must satisfy, beyond residual and distance."""
        return ()

    def depends_on(self) -> dict[str, type]:
        """The study's models to be trained before this one, and the Protocol that each must satisfy."""
        return {}

    def provides(self) -> tuple[type, ...]:
        """The Protocols that the model satisfies, from `CAPABILITIES` or from outside the library."""
        return (Denoising,)

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        """The constraints with multipliers, by name: the bounded column of the training log, and its bound.

        The bound is None where it is itself minimised.
        """
        return {}

    def tradeoff_parameter(self) -> str | None:
        """The key that trades one quality of the model for another; the report plots metrics against it."""
        return None


class FittedModelSpec(ModelSpec):
    """Base of the models without gradient steps: fitted in closed form, or with nothing to fit."""

    training: TrainingSpec = TrainingSpec(steps=0)
    """Not trained by gradient steps: `steps` must stay zero."""

    @model_validator(mode="after")
    def _no_steps(self) -> FittedModelSpec:
        if self.training.steps:
            raise ValueError(
                f"a `{self.kind}` is not trained by steps: set `training.steps` to 0 or leave it out"
            )
        return self


AnyModel = Annotated[ModelSpec, ByKind()]
