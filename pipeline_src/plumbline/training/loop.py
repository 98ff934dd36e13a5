r"""The one training loop, on Lightning Fabric: device, precision, several devices.

The loop knows a model by `loss(batch)` and `after_step(terms)`. It makes results depend on (seed, step)
alone: the batch of a step is read off a permutation that is seeded by (seed, epoch), and the random numbers
within a step come from a generator that is seeded by (seed, step, rank) before it. A training that was killed
and resumed from its saved state therefore ends, on a CPU, at bitwise the same weights, and there is no state
of a random generator to save.

Every `save_every` steps the whole state (weights, moving average, optimiser, schedule, step, log) is written beside
the result and renamed into place. Whoever writes the result deletes it with `forget`, once the result is on the disk.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from plumbline.models import TrainingSpec
from plumbline.plan import LOG
from plumbline.progress import Progress
from plumbline.storage.store import partial_of, remove_left_overs, replace_durably
from plumbline.storage.tensors import read_tensors
from plumbline.training.log import TrainingLog

logger = logging.getLogger("plumbline.training")


STATE = "state.pt"
"""File of the state saved last, in the folder of a training."""


class DivergedTrainingError(RuntimeError):
    """The loss or a gradient stopped being finite."""


class SavedStateError(RuntimeError):
    """The saved state of this training does not fit its model."""


class DevicesError(RuntimeError):
    """A training does not run on as many devices as were asked for."""


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
    """Trains a model and returns it with the weights to draw from: the moving average, if there is one.

    Args:
        model: the model, prepared.
        data: tensors of equal length, by the names that the model's loss knows them under.
        spec: how to train.
        validation: tensors like those of `data`, that `validate_every` judges the weights by.
        seed: seed of batches and noise.
        folder: where the training log and the saved state go.
        identity: what the training depends on; a saved state of another identity is not resumed.
        keep: called in the first process with the weights to draw from and the step, at each checkpoint.
        spent: seconds of preparation, which the log's wall time begins with.

    Raises:
        DivergedTrainingError: a loss or gradient that is not finite. The last saved state is kept.
        DevicesError: there are fewer processes than `devices`.
        SavedStateError: the saved state is of this training and does not fit the model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if spec.steps == 0:
        TrainingLog(folder, [], enabled=True, tensorboard=False).close()
        return model
    # Of models that train in turns, such as an actor and its critic, parts have no gradient at some steps.
    strategy = "auto" if spec.devices == 1 else "ddp_find_unused_parameters_true"
    # The loop launches its own processes. Within an allocation of SLURM, Fabric would take the tasks of the job step for them.
    fabric = Fabric(
        accelerator=spec.accelerator, strategy=strategy, devices=spec.devices, precision=spec.precision,
        plugins=[LightningEnvironment()],
    )  # fmt: skip
    fabric.launch()
    if fabric.world_size != spec.devices:
        raise DevicesError(
            f"`training.devices` asks for {spec.devices}, and {fabric.world_size} processes take part: unset LOCAL_RANK and "
            f"WORLD_SIZE, or set `devices` to {fabric.world_size}."
        )
    # Where multipliers alone are learned, there may be no parameters, which optimisers refuse.
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
    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
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
            cast(Any, model).after_step(terms)
        log.add(step + 1, {"loss": loss.detach(), **terms}, float(schedule.get_last_lr()[0]))
        done, current = step + 1, model if averaged is None else averaged.module
        if done % spec.log_every == 0 or done == spec.steps:
            judged = spec.validate_every and (done % spec.validate_every == 0 or done == spec.steps)
            with log.paused():
                told = _validate(current, validation, spec.batch, seed) if judged and log.enabled else {}
            log.flush(told)
        with log.paused():
            if done in kept and fabric.is_global_zero:
                keep(current, done)
            if done % spec.save_every == 0 and done < spec.steps:
                _save(fabric, saved, {**state, "step": done, "identity": identity, "log": log.rows})
        progress.report(f"step {done} of {spec.steps}: {log.summary()}")
    log.close()
    return averaged.module if averaged is not None else model


def forget(folder: Path) -> None:
    """Deletes the saved state of a training whose result is in place, and what dead processes left half-written in its folder."""
    (folder / STATE).unlink(missing_ok=True)
    for name in (STATE, LOG):
        remove_left_overs(folder / name)


@torch.no_grad()
def _validate(model: nn.Module, data: dict[str, Tensor], size: int, seed: int) -> dict[str, float]:
    """Loss and terms of the weights that would be drawn from now, mean over the samples of `data`."""
    training = model.training
    model.eval()
    torch.manual_seed(seed)  # the same noise at every validation
    sums: dict[str, float] = {}
    for first in range(0, len(data["state"]), size):
        batch = {name: tensor[first : first + size] for name, tensor in data.items()}
        loss, terms = cast(Any, model).loss(batch)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch["state"])
    model.train(training)
    return {name: total / len(data["state"]) for name, total in sums.items()}


def is_first_process() -> bool:
    """Whether this process is to write results: the only one, or the first of several that train together."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def batches(samples: int, spec: TrainingSpec, seed: int, start: int) -> Iterator[tuple[int, Tensor]]:
    """Steps from `start` on with the indices of their batch, in epochs of one permutation each."""
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
    """The share of the peak learning rate at a step: a linear rise, then a half cosine or a constant."""
    if step < spec.warmup:
        return (step + 1) / spec.warmup
    if spec.decay == "constant":
        return 1.0
    fraction = (step - spec.warmup) / max(1, spec.steps - spec.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def _moving_average(decay: float) -> Any:
    """Exponential moving average whose decay rises from zero, so that the first weights are forgotten.

    Torch hands over tensors of one dtype at a time; counters among the buffers are copied.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], values: list[Tensor], updates: Tensor | int) -> None:
        count = float(updates)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, weight)
        else:
            torch._foreach_copy_(averages, values)

    return update


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A seed from three numbers, well mixed (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + (rank + 2) * 0x94D049BB133111EB) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


def _require_finite(value: Tensor, step: int, saved: Path) -> None:
    if not bool(torch.isfinite(value).all()):
        kept = f"The state saved last is kept in {saved}." if saved.exists() else "No state was saved yet."
        raise DivergedTrainingError(
            f"the loss or its gradient is not finite at step {step + 1}. Lower `training.learning_rate`, set "
            f"`training.gradient_clip`, or check the data for NaN. {kept}"
        )


def _save(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    partial = partial_of(path)
    fabric.save(partial, state)
    if fabric.is_global_zero:
        replace_durably(partial, path)
    fabric.barrier()


def _resume(
    path: Path, state: dict[str, Any], identity: str, spec: TrainingSpec
) -> tuple[int, list[dict[str, float]]]:
    """Loads a saved state of the same identity into `state`; its step, and the rows of its log: zero and none without one."""
    if not path.exists():
        return 0, []
    try:
        found = read_tensors(path)
    except Exception as error:
        logger.warning("%s cannot be read (%s): training starts afresh.", path, error)
        return 0, []
    if not isinstance(found, dict) or not {"identity", "step", "log", *state} <= set(found):
        logger.warning("%s is not the saved state of a training: training starts afresh.", path)
        return 0, []
    if found["identity"] != identity:
        logger.info("%s belongs to another training: training starts afresh.", path)
        return 0, []
    try:
        _require_sound(found, state["optimiser"], spec)
        for name, part in state.items():
            target = getattr(part, "module", part) if name == "model" else part
            target.load_state_dict(found[name])
    except Exception as error:
        reason = str(error).splitlines()[-1].strip()
        raise SavedStateError(
            f"{path} names this training and does not fit its model ({type(error).__name__}: {reason}). Delete it, and the "
            f"training starts afresh."
        ) from error
    logger.info("resuming at step %d", found["step"])
    return found["step"], found["log"]


def _require_sound(found: dict[str, Any], optimiser: torch.optim.Optimizer, spec: TrainingSpec) -> None:
    """Checks what `load_state_dict` takes as it is: the step, the log, finite numbers, and the shapes of Adam's moments.

    The fused steps of Adam write beyond moments that are smaller than their parameters.

    Raises:
        ValueError: saying what is wrong.
    """
    step, rows = found["step"], found["log"]
    if type(step) is not int or not 0 < step < spec.steps:
        raise ValueError(f"it was saved at the step {step!r} of {spec.steps}")
    if (counted := found["schedule"]["last_epoch"]) != step:
        raise ValueError(f"its learning rate is that of step {counted!r}, and its weights are of step {step}")
    numbers = isinstance(rows, list) and all(
        isinstance(row, dict)
        and {"step", "loss", "wall_time_seconds"} <= set(row)
        and all(isinstance(value, float) for value in row.values())
        for row in rows
    )
    if not numbers:
        raise ValueError("its log does not hold rows of numbers")
    logged = [row["step"] for row in rows]
    if logged != [float(s) for s in range(spec.log_every, step + 1, spec.log_every)]:
        raise ValueError(f"its log does not hold the rows of {step} steps")
    for name in ("model", "averaged", "optimiser"):
        for place, tensor in _tensors(found.get(name, {}), name):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{place} holds numbers that are not finite")
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, moments in found["optimiser"]["state"].items():
        for name, value in moments.items():
            if name != "step" and value.shape != parameters[index].shape:
                raise ValueError(
                    f"{name} of parameter {index} has the shape {tuple(value.shape)}, expected "
                    f"{tuple(parameters[index].shape)}"
                )


def _tensors(values: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested containers, each with its place."""
    if isinstance(values, Tensor):
        yield place, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _tensors(value, f"{place}.{key}")
    elif isinstance(values, list | tuple):
        for key, value in enumerate(values):
            yield from _tensors(value, f"{place}.{key}")
