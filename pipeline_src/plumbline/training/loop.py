r"""The training loop of all models. Lightning Fabric handles the device, precision and several processes.

The loop calls a model's `loss(batch)` and, if the model has it, `after_step(terms)`. The random numbers of a
step depend on (seed, step) alone: its batch is a slice of a permutation seeded by (seed, epoch), and the
generator is seeded by (seed, step, rank) before each step. A training that was killed and resumed from its
saved state therefore ends, on a CPU, with bitwise the same weights, and no generator state needs to be saved.

Every `save_every` steps the whole state (weights, moving average, optimiser, schedule, step, log) is written
next to the result under a temporary name and then renamed. The code that writes the result deletes the saved
state with `forget` once the result is on disk.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from plumbline.plan import LOG
from plumbline.progress import Progress
from plumbline.storage.store import partial_of, remove_left_overs, replace_durably
from plumbline.storage.tensors import read_tensors
from plumbline.training import Trainable, TrainingSpec, UpdatesAfterStep
from plumbline.training.log import TrainingLog

logger = logging.getLogger("plumbline.training")


STATE = "state.pt"
"""Name of the file of the last saved state, in the folder of a training."""

_Tensors = tuple[Tensor, ...] | list[Tensor]


class _Stateful(Protocol):
    """A part of a training that is saved: model, optimiser, schedule, moving average."""

    def load_state_dict(self, state_dict: dict[str, object], /) -> object:
        """Takes over a saved state."""
        ...


class DivergedTrainingError(RuntimeError):
    """The loss or a gradient is no longer finite."""


class SavedStateError(RuntimeError):
    """The saved state of this training does not fit its model."""


class DevicesError(RuntimeError):
    """The number of processes of a training differs from the number of devices requested."""


def train(
    model: nn.Module,
    data: dict[str, Tensor],
    spec: TrainingSpec,
    *,
    validation: dict[str, Tensor],
    seed: int,
    folder: str | Path,
    identity: str,
    keep: Callable[[nn.Module, int], None] = lambda model, step: None,
    spent: float = 0.0,
) -> nn.Module:
    """Trains a model and returns it with the weights to sample from: the moving average, if there is one.

    Args:
        model: the prepared model.
        data: tensors of equal length, by the names that the model's loss expects; one is named `state`.
        spec: the training settings.
        validation: tensors like those of `data`, used by the validations every `validate_every` steps.
        seed: seed of the batches and the noise.
        folder: folder of the training log and the saved state.
        identity: identifies everything that the training depends on; a saved state of another identity is not
            resumed.
        keep: called in the first process at each checkpoint, with the weights to sample from and the step.
        spent: seconds of preparation, at which the log's wall time starts.

    Raises:
        DivergedTrainingError: a loss or gradient is not finite. The last saved state is kept.
        DevicesError: the number of processes differs from `devices`.
        SavedStateError: the saved state belongs to this training but does not fit the model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if spec.steps == 0:
        TrainingLog(folder, [], enabled=True, tensorboard=False).close()
        return model
    # Models with alternating updates, such as an actor and its critic, have parts without gradients at some
    # steps.
    strategy = "auto" if spec.devices == 1 else "ddp_find_unused_parameters_true"
    # The loop launches its own processes. Within a SLURM allocation, Fabric would otherwise use the tasks of
    # the job step instead.
    fabric = Fabric(
        accelerator=spec.accelerator, strategy=strategy, devices=spec.devices, precision=spec.precision,
        plugins=[LightningEnvironment()],
    )  # fmt: skip
    fabric.launch()
    if fabric.world_size != spec.devices:
        raise DevicesError(
            f"`training.devices` is {spec.devices}, but the number of processes is {fabric.world_size}: "
            f"unset LOCAL_RANK and WORLD_SIZE, or set `devices` to {fabric.world_size}."
        )
    # A model that learns multipliers alone may have no parameters, and optimisers refuse an empty list.
    parameters = list(model.parameters()) or [nn.Parameter(torch.zeros(0))]
    optimiser = torch.optim.AdamW(
        parameters,
        lr=spec.learning_rate,
        betas=(spec.beta1, spec.beta2),
        weight_decay=spec.weight_decay,
        fused=True,
    )
    wrapped, optimiser = fabric.setup(model, optimiser)
    wrapped.mark_forward_method("loss")
    averaged = (
        AveragedModel(model, multi_avg_fn=_moving_average(spec.ema), use_buffers=True) if spec.ema else None
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, spec))
    state: dict[str, _Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    if averaged is not None:
        state["averaged"] = averaged
    saved = folder / STATE
    first, rows = _resume(saved, state, identity, spec)
    log = TrainingLog(folder, rows, enabled=fabric.is_global_zero, tensorboard=spec.tensorboard, spent=spent)
    kept = spec.checkpoint_steps()
    data, validation = (
        {name: tensor.to(fabric.device) for name, tensor in part.items()} for part in (data, validation)
    )
    progress = Progress(logger)
    wrapped.train()
    for step, indices in batches(len(data["state"]), spec, seed, first):
        torch.manual_seed(_step_seed(seed, step, fabric.global_rank))
        own = indices[fabric.global_rank :: fabric.world_size].to(fabric.device)
        batch = {name: tensor[own] for name, tensor in data.items()}
        optimiser.zero_grad(set_to_none=True)
        loss, terms = wrapped.loss(batch)
        _require_finite(loss, step, saved)
        if loss.requires_grad:
            fabric.backward(loss)
        if spec.gradient_clip:
            norm = fabric.clip_gradients(
                wrapped, optimiser, max_norm=spec.gradient_clip, error_if_nonfinite=False
            )
            _require_finite(norm, step, saved)
        optimiser.step()
        schedule.step()
        if averaged is not None:
            averaged.update_parameters(model)
        if hasattr(model, "after_step"):
            cast("UpdatesAfterStep", model).after_step(terms)
        log.add(step + 1, {"loss": loss.detach(), **terms}, float(schedule.get_last_lr()[0]))
        done, current = step + 1, model if averaged is None else averaged.module
        if done % spec.log_every == 0 or done == spec.steps:
            due = spec.validate_every and (done % spec.validate_every == 0 or done == spec.steps)
            with log.paused():
                results = _validate(current, validation, spec.batch, seed) if due and log.enabled else {}
            log.flush(results)
        with log.paused():
            if done in kept and fabric.is_global_zero:
                keep(current, done)
            if done % spec.save_every == 0 and done < spec.steps:
                _save(fabric, saved, {**state, "step": done, "identity": identity, "log": log.rows})
        progress.count(done, spec.steps, "step", log.summary())
    log.close()
    return averaged.module if averaged is not None else model


def forget(folder: Path) -> None:
    """Deletes the saved state of a finished training, and partial files left in its folder by dead processes.

    Call it once the result of the training is on disk.
    """
    (folder / STATE).unlink(missing_ok=True)
    for name in (STATE, LOG):
        remove_left_overs(folder / name)


@torch.no_grad()
def _validate(model: nn.Module, data: dict[str, Tensor], size: int, seed: int) -> dict[str, float]:
    """Loss and terms of the current weights to sample from, mean over the samples of `data`."""
    training = model.training
    model.eval()
    torch.manual_seed(seed)  # the same noise at every validation
    sums: dict[str, float] = {}
    for first in range(0, len(data["state"]), size):
        batch = {name: tensor[first : first + size] for name, tensor in data.items()}
        loss, terms = cast("Trainable", model).loss(batch)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch["state"])
    model.train(training)
    return {name: total / len(data["state"]) for name, total in sums.items()}


def is_first_process() -> bool:
    """Whether this process writes the results: it is the only process or the first of several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def batches(samples: int, spec: TrainingSpec, seed: int, start: int) -> Iterator[tuple[int, Tensor]]:
    """Yields the steps from `start` on, with the indices of their batches.

    Each epoch passes through one permutation of the samples. Samples that do not fill a batch at its end are
    left out of that epoch.
    """
    size = min(spec.batch, samples)
    per_epoch = samples // size
    permutation, epoch = torch.empty(0), -1
    for step in range(start, spec.steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            generator = torch.Generator().manual_seed(_step_seed(seed, epoch, -1))
            permutation = torch.randperm(samples, generator=generator)
        position = step % per_epoch * size
        yield step, permutation[position : position + size]


def learning_rate_factor(step: int, spec: TrainingSpec) -> float:
    """Learning rate at a step over its peak: linear warm-up, then a half cosine or a constant."""
    if step < spec.warmup:
        return (step + 1) / spec.warmup
    if spec.decay == "constant":
        return 1.0
    fraction = (step - spec.warmup) / max(1, spec.steps - spec.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def _moving_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Update of an exponential moving average, whose decay rises from a small value to forget early weights.

    Torch passes the tensors of one dtype at a time; integer buffers, such as counters, are copied.
    """

    @torch.no_grad()
    def update(averages: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        count = float(updates)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, weight)
        else:
            torch._foreach_copy_(averages, values)

    return update


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A seed from three integers, mixed by the finaliser of splitmix64 (https://doi.org/10.1145/2660193.2660195)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + (rank + 2) * 0x94D049BB133111EB) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


def _require_finite(value: Tensor, step: int, saved: Path) -> None:
    if not bool(torch.isfinite(value).all()):
        kept = f"The last saved state is kept in {saved}." if saved.exists() else "No state was saved yet."
        raise DivergedTrainingError(
            f"the loss or its gradient is not finite at step {step + 1}. Lower `training.learning_rate`, set "
            f"`training.gradient_clip`, or check the data for NaN. {kept}"
        )


def _save(fabric: Fabric, path: Path, state: Mapping[str, object]) -> None:
    partial = partial_of(path)
    fabric.save(partial, state)
    if fabric.is_global_zero:
        replace_durably(partial, path)
    fabric.barrier()


def _resume(
    path: Path, state: Mapping[str, _Stateful], identity: str, spec: TrainingSpec
) -> tuple[int, list[dict[str, float]]]:
    """Loads a saved state of the same identity into `state`, if there is one.

    Returns:
        The step of the saved state and the rows of its log; zero and no rows if there is no such state.

    Raises:
        SavedStateError: the saved state has this identity but does not fit the model.
    """
    if not path.exists():
        return 0, []
    try:
        found = read_tensors(path)
    except Exception as error:
        logger.warning("%s cannot be read (%s): training starts from scratch.", path, error)
        return 0, []
    if not isinstance(found, dict) or not {"identity", "step", "log", *state} <= set(found):
        logger.warning("%s is not the saved state of a training: training starts from scratch.", path)
        return 0, []
    if found["identity"] != identity:
        logger.info("%s belongs to another training: training starts from scratch.", path)
        return 0, []
    try:
        _require_sound(found, cast("torch.optim.Optimizer", state["optimiser"]), spec)
        for name, part in state.items():
            target = getattr(part, "module", part) if name == "model" else part
            target.load_state_dict(found[name])
    except Exception as error:
        reason = str(error).splitlines()[-1].strip()
        raise SavedStateError(
            f"{path} belongs to this training but does not fit its model ({type(error).__name__}: {reason}). "
            f"Delete it to start the training from scratch."
        ) from error
    logger.info("resuming at step %d", found["step"])
    return found["step"], found["log"]


def _require_sound(found: dict[str, Any], optimiser: torch.optim.Optimizer, spec: TrainingSpec) -> None:
    """Checks what `load_state_dict` does not: step, log, finite values, and the shapes of Adam's moments.

    Fused Adam steps would write out of bounds if a moment were smaller than its parameter.

    Raises:
        ValueError: one of these is invalid.
    """
    step, rows = found["step"], found["log"]
    if type(step) is not int or not 0 < step < spec.steps:
        raise ValueError(f"its step is {step!r}, expected an integer between 0 and {spec.steps}")
    if (counted := found["schedule"]["last_epoch"]) != step:
        raise ValueError(f"its learning rate is that of step {counted!r}, but its weights are of step {step}")
    numeric = isinstance(rows, list) and all(
        isinstance(row, dict)
        and {"step", "loss", "wall_time_seconds"} <= set(row)
        and all(isinstance(value, float) for value in row.values())
        for row in rows
    )
    if not numeric:
        raise ValueError("its log does not consist of rows of numbers")
    logged = [row["step"] for row in rows]
    if logged != [float(s) for s in range(spec.log_every, step + 1, spec.log_every)]:
        raise ValueError(f"its log does not have the rows of {step} steps")
    for name in ("model", "averaged", "optimiser"):
        for place, tensor in _tensors(found.get(name, {}), name):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{place} has values that are not finite")
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, moments in found["optimiser"]["state"].items():
        for name, value in moments.items():
            if name != "step" and value.shape != parameters[index].shape:
                raise ValueError(
                    f"{name} of parameter {index} has the shape {tuple(value.shape)}, expected "
                    f"{tuple(parameters[index].shape)}"
                )


def _tensors(values: object, place: str) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in nested containers, each with its path."""
    if isinstance(values, Tensor):
        yield place, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _tensors(value, f"{place}.{key}")
    elif isinstance(values, list | tuple):
        for key, value in enumerate(values):
            yield from _tensors(value, f"{place}.{key}")
