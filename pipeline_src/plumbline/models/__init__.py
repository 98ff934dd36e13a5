"""Models: anything trained, a package a family, with its loss and how it draws.

A model is an `nn.Module` with

- `prepare(data)`: fits, once and before training, what has a closed form (standardisation, moments);
- optionally `start_from(weights)`: takes over the trained weights of the model that it is initialised by; without it, they
  are loaded as its own;
- `loss(batch) -> (scalar, terms)`, unless it takes no steps: the training loop minimises the scalar and logs the terms;
- optionally `after_step(terms)`, called after every optimiser step.

`data` and `batch` are dicts of tensors, the numeric variables of the dataset along `sample`: `state` (B, ...) in
the data's units, `condition` (B, C) where the dataset has one, targets of constraints. What samplers draw from a
model by is the model's offer, one or more of

- `denoiser`: an azula `Denoiser`, with `conditions(batch) -> dict` of its keyword arguments, in the space
  `space_of(batch)`, which has `encode(x)`, `decode(z)` and, where coordinates correspond, `scale`;
- `prediction`: `predict(batch)`, for the rest of each sample: a draw of the state, and what the model knows of it, such
  as mean, deviation and log-likelihood;
- `prior`: `draw(batch)`, as many draws of the prior as the batch has samples, and what the model says of these;
- `latents`: `latent_draws(batch) -> (B, d)`, as many latent vectors, for whatever the batch tells of its samples, and
  `decode(z, batch)`, the samples of latent vectors; `posterior`: also `posterior_draws(batch)`, latent vectors of the samples of
  the batch themselves, and `posterior(batch)`, their law; `actor` and `critics`: see `models.latent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import model_validator

from plumbline.constraints import Constraint
from plumbline.datasets import AnyDataset
from plumbline.spec import LARGEST_SEED, ByKind, Kind, Spec, key

if TYPE_CHECKING:
    import xarray as xr
    from torch import nn


@dataclass(frozen=True)
class BuildContext:
    """What a model is built on.

    Attributes:
        example: a sample of the dataset with its coordinates and attributes: the shape of the data.
        constraints: the constraints that the model names.
        models: the models that it stands on, by name.
    """

    example: xr.Dataset
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    models: Mapping[str, nn.Module] = field(default_factory=dict)

    def constraint(self, name: str | None) -> Constraint | None:
        """The constraint of this name; None for none."""
        return None if name is None else self.constraints[name]


class TrainingSpec(Spec):
    """How a model is trained."""

    steps: int = key("optimiser steps", ge=0, default=2000)
    """Length of the training. Zero for models that are fitted in closed form."""
    samples: int | None = key("samples", ge=2, default=None)
    """Samples of the train split that are used, the first ones; null for all."""
    seed_offset: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Added to the study's seed: two models of one recipe differ by it, as members of an ensemble must."""
    batch: int = key("samples", ge=1, default=64)
    """Samples in a batch, over all devices."""
    learning_rate: float = key(gt=0, default=1e-3)
    """Peak learning rate of AdamW."""
    beta1: float = key(ge=0, lt=1, default=0.9)
    """Decay of AdamW's first moment (its beta_1)."""
    beta2: float = key(ge=0, lt=1, default=0.999)
    """Decay of AdamW's second moment (its beta_2)."""
    weight_decay: float = key(ge=0, default=0.0)
    """Weight decay of AdamW."""
    warmup: int = key("optimiser steps", ge=0, default=100)
    """Steps over which the learning rate rises linearly."""
    decay: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the rise: to zero as a half cosine, or constant."""
    gradient_clip: float = key(ge=0, default=1.0)
    """Largest norm of the gradient; 0 for no clipping."""
    ema: float = key(ge=0, lt=1, default=0.999)
    """Decay of the exponential moving average of the weights; 0 keeps the last ones."""
    devices: int = key(ge=1, default=1)
    """Devices that share a batch (distributed data parallel)."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train: a GPU if there is one, or as named."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    """Precision of the forward and backward passes, in the words of Lightning Fabric."""
    save_every: int = key("optimiser steps", ge=1, default=500)
    """Interval between saved states, from which a killed job resumes."""
    checkpoints: int = key(ge=0, default=0)
    """Numbered checkpoints that are kept, at equal intervals, the last at the end; 0 keeps the end alone."""
    log_every: int = key("optimiser steps", ge=1, default=20)
    """Interval between rows of the training log; each is a mean over the interval."""
    validate_every: int = key("optimiser steps", ge=0, default=0)
    """Interval between validations, whose losses are columns of the log; a multiple of `log_every`, or 0 for none."""
    tensorboard: bool = False
    """Whether to write TensorBoard events beside the weights."""

    @model_validator(mode="after")
    def _checkpoints_are_apart(self) -> TrainingSpec:
        if self.checkpoints > self.steps:
            raise ValueError(f"`checkpoints` ({self.checkpoints}) must be at most `steps` ({self.steps})")
        return self

    def checkpoint_steps(self) -> tuple[int, ...]:
        """The steps after which numbered checkpoints are kept."""
        return tuple(self.steps * (i + 1) // self.checkpoints for i in range(self.checkpoints))

    @model_validator(mode="after")
    def _validations_end_intervals(self) -> TrainingSpec:
        if self.validate_every % self.log_every:
            raise ValueError(
                f"`validate_every` ({self.validate_every}) must be a multiple of `log_every` ({self.log_every}), "
                f"whose rows it adds to"
            )
        return self


class ModelSpec(Kind):
    """Base of the model kinds."""

    training: TrainingSpec = TrainingSpec()
    """How the model is trained."""
    initialise: str | None = None
    """Name of a model of the same shape, whose trained weights this one starts from."""
    dataset: AnyDataset | None = None
    """Dataset that it learns from in place of the study's, of samples of the same shape; null for the study's."""

    def build(self, on: BuildContext) -> nn.Module:
        """An untrained model."""
        raise NotImplementedError

    def constraint_names(self) -> list[str]:
        """The study's constraints that the model is built with."""
        return []

    def requires(self) -> tuple[str, ...]:
        """What it asks of these constraints beyond residual and distance, such as `condition`."""
        return ()

    def depends_on(self) -> dict[str, str]:
        """The study's models that the model is built with, which are trained before it, and what it needs of each."""
        return {}

    def provides(self) -> tuple[str, ...]:
        """What samplers can draw from it by: `denoiser`, `prediction`, `prior`, `latents`; or what models can stand on: `mirror`,
        `restorer`."""
        return ("denoiser",)

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        """What multipliers answer for: by constraint, the column of the training log that is bound, and its bound; None for
        the least that there is."""
        return {}

    def tradeoff_parameter(self) -> str | None:
        """The key whose number the model trades one merit for another by, which the report draws metrics against."""
        return None


class FittedModelSpec(ModelSpec):
    """Base of the models without gradient steps: fitted in closed form, or with nothing to fit."""

    training: TrainingSpec = TrainingSpec(steps=0)
    """Not trained by steps: `steps` must stay zero."""

    @model_validator(mode="after")
    def _no_steps(self) -> FittedModelSpec:
        if self.training.steps:
            raise ValueError(
                f"a `{self.kind}` is not trained by steps: set `training.steps` to 0 or leave it out"
            )
        return self


AnyModel = Annotated[ModelSpec, ByKind()]
