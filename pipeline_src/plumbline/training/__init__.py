"""Training: how it goes (`TrainingSpec`), the loop, its log and its saved state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pydantic import model_validator

from plumbline.spec import LARGEST_SEED, Spec, key

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Trainable(Protocol):
    """A model that has a loss."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (), which the training minimises, and terms () for the log by name.

        Args:
            batch: tensors (B, ...) by name, `state` in the data's unit.
        """
        ...


@runtime_checkable
class UpdatesAfterStep(Protocol):
    """A model that changes after each step of the optimiser, such as the multipliers of constraints do."""

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Takes the terms () of the step's loss, by name, and updates the model in place."""
        ...


@runtime_checkable
class Lengthening(Protocol):
    """A model whose loss may cost more the later the step of the training is."""

    def go_to(self, step: int) -> None:
        """Moves to a step of the training, whose cost is that of the loss from then on."""
        ...


class TrainingSpec(Spec):
    """How a model is trained."""

    steps: int = key("optimiser steps", ge=0, default=2000)
    """Number of optimiser steps; zero for models that are fitted in closed form."""
    samples: int | None = key("samples", ge=2, default=None)
    """Number of samples of the train split to train on, taken from its start; null for all."""
    seed_offset: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Added to the study's seed, so that models of equal settings differ, as members of an ensemble must."""
    batch: int = key("samples", ge=1, default=64)
    """Batch size, over all devices of all nodes."""
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
    """Schedule of the learning rate after the warm-up: half a cosine down to zero, or constant."""
    gradient_clip: float = key(ge=0, default=1.0)
    """Maximum norm of the gradient; 0 for no clipping."""
    ema: float = key(ge=0, lt=1, default=0.999)
    """Decay of the exponential moving average of the weights; 0 uses the last weights."""
    devices: int = key(ge=1, default=1)
    """Number of devices of a machine that share a batch (distributed data parallel)."""
    nodes: int = key(ge=1, default=1)
    """Number of machines that share a batch, each with `devices` devices; several machines need SLURM, which
    starts the processes."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device to train on; `auto` uses a GPU if there is one."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    """Precision of the forward and backward passes, as named by Lightning Fabric: `bf16-mixed` computes
    matrix products in bfloat16 and keeps the weights in single precision."""
    compile: bool = False
    """Whether `torch.compile` compiles the loss, which pays off in long trainings and needs a C++ compiler. A
    loss with the gradient of a gradient, such as that of `latent_critics`, cannot be compiled."""
    save_every: int = key("optimiser steps", ge=1, default=500)
    """Interval between saved training states, from which an interrupted job resumes."""
    checkpoints: int = key(ge=0, default=0)
    """Number of checkpoints to keep, at equal intervals up to the end; 0 keeps only the final weights."""
    log_every: int = key("optimiser steps", ge=1, default=20)
    """Interval between rows of the training log; each is a mean over the interval."""
    validate_every: int = key("optimiser steps", ge=0, default=0)
    """Interval between validations, logged as columns; a multiple of `log_every`, or 0 for none."""
    tensorboard: bool = False
    """Whether to write TensorBoard events next to the weights."""

    @model_validator(mode="after")
    def _checkpoints_are_apart(self) -> TrainingSpec:
        if self.checkpoints > self.steps:
            raise ValueError(f"`checkpoints` ({self.checkpoints}) must be at most `steps` ({self.steps})")
        return self

    def checkpoint_steps(self) -> tuple[int, ...]:
        """The steps after which checkpoints are kept."""
        return tuple(self.steps * (i + 1) // self.checkpoints for i in range(self.checkpoints))

    def shortened(self, *, steps: int, batch: int) -> TrainingSpec:
        """The settings for some steps on one device, which leave nothing but the weights."""
        alone = {"devices": 1, "nodes": 1}
        nothing_else = {"checkpoints": 0, "validate_every": 0, "tensorboard": False}
        return self.model_copy(update={"steps": steps, "batch": batch, **alone, **nothing_else})

    @model_validator(mode="after")
    def _validations_end_intervals(self) -> TrainingSpec:
        if self.validate_every % self.log_every:
            raise ValueError(
                f"`validate_every` ({self.validate_every}) must be a multiple of `log_every` "
                f"({self.log_every}), whose rows it adds to"
            )
        return self
