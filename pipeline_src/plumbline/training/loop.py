r"""The training loop of all models, on one device or several.

The loop calls a model's `loss(batch)` and, if the model has it, `after_step(terms)`. The random numbers of a
step depend on (seed, step) alone: its batch comes from a feed whose order is a function of (seed, epoch), and
the generator is seeded by (seed, step, rank) before each step. A training that was killed and resumed from
its saved state therefore ends, on a CPU, with bitwise the same weights. No generator state needs to be saved.

Every `save_every` steps and at the end the whole state (weights, moving average, optimiser, schedule, step,
log) is written next to the result under a temporary name and then renamed. Snakemake may not have learnt that
the training has ended, and start it again: it then finds the state of the last step. `forget` deletes the
state when the result is known to be in use. A training that receives SIGTERM saves its state after the
current step and exits.

On a GPU no step waits for the device: whether loss and gradient are finite is noted on the device and read
before each row of the log and each saved state. On a CPU it is read at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from plumbline.interruption import Interruption, deferred, leave
from plumbline.plan import LOG
from plumbline.progress import Progress
from plumbline.storage.partial import partial_of, remove_left_overs
from plumbline.storage.store import replace_durably
from plumbline.storage.tensors import read_tensors
from plumbline.training import Trainable, TrainingSpec, UpdatesAfterStep
from plumbline.training._average import MovingAverage
from plumbline.training._processes import Processes, processes_of
from plumbline.training.feed import Feed, Place, mixed_seed
from plumbline.training.log import Interval, TrainingLog

logger = logging.getLogger("plumbline.training")


STATE = "state.pt"
"""Name of the file of the last saved state, in the folder of a training."""


class _Stateful(Protocol):
    """A part of a training that is saved: model, optimiser, schedule, moving average."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Takes over a saved state."""
        ...


class DivergedTrainingError(RuntimeError):
    """The loss or a gradient is no longer finite."""


class SavedStateError(RuntimeError):
    """The saved state of this training does not fit its model."""


def train(
    model: nn.Module,
    feed: Feed,
    spec: TrainingSpec,
    *,
    validation: Feed | None = None,
    seed: int,
    folder: str | Path,
    identity: str,
    keep: Callable[[nn.Module, int], None] = lambda model, step: None,
    spent: float = 0.0,
) -> nn.Module:
    """Trains a model and returns it with the weights to sample from: the moving average, if there is one.

    Args:
        model: the prepared model.
        feed: the samples, with the tensors that the model's loss expects.
        spec: the training settings.
        validation: the samples of the validations every `validate_every` steps; None for no validations.
        seed: seed of the batches and the noise.
        folder: folder of the training log and the saved state.
        identity: identifies everything that the training depends on; a saved state of another identity is not
            resumed.
        keep: called in the first process at each checkpoint, with the weights to sample from and the step.
        spent: seconds of preparation, at which the log's wall time starts.

    Raises:
        DivergedTrainingError: a loss or gradient is not finite. The last saved state is kept.
        NoGPUError: the training requires a GPU, and there is none.
        DevicesError: the number of processes differs from `devices`.
        SavedStateError: the saved state belongs to this training but does not fit the model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if spec.steps == 0:
        TrainingLog(folder, [], enabled=True, tensorboard=False).close()
        return model
    processes = processes_of(spec)
    place = processes.place
    model.to(place.device)
    # A model that learns multipliers alone may have no parameters, and optimisers refuse an empty list.
    parameters = list(model.parameters()) or [nn.Parameter(torch.zeros(0, device=place.device))]
    optimiser = processes.setup(
        model,
        torch.optim.AdamW(
            parameters,
            lr=spec.learning_rate,
            betas=(spec.beta1, spec.beta2),
            weight_decay=spec.weight_decay,
            fused=True,
        ),
    )
    average = MovingAverage(model, spec.ema) if spec.ema else None
    to_sample_from = model if average is None else average.module
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, spec))
    state: dict[str, _Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    if average is not None:
        state["averaged"] = average
    saved = folder / STATE
    first, rows, interval = _resume(saved, state, identity, spec)
    log = TrainingLog(
        folder, rows, interval, enabled=place.rank == 0, tensorboard=spec.tensorboard, spent=spent
    )
    kept = spec.checkpoint_steps()
    finite = _Finite(place.device, saved)
    progress = Progress(logger)
    model.train()
    with _compiled(model, spec), finite.watching(), _deferred_if_alone(place) as interruption:
        for step, batch in feed.batches(spec, seed, first, place):
            torch.manual_seed(mixed_seed(seed, step, place.rank))
            optimiser.zero_grad(set_to_none=True)
            loss, terms = processes.loss(batch)
            finite.note(loss, step)
            if loss.requires_grad:
                processes.backward(loss)
            if spec.gradient_clip:
                finite.note(processes.clip(spec.gradient_clip), step)
            optimiser.step()
            schedule.step()
            if average is not None:
                average.update(model, step)
            if hasattr(model, "after_step"):
                cast("UpdatesAfterStep", model).after_step(terms)
            log.add(step + 1, {"loss": loss.detach(), **terms}, float(schedule.get_last_lr()[0]))
            done = step + 1
            if done % spec.log_every == 0 or done == spec.steps:
                finite.check()
                validate = spec.validate_every and (done % spec.validate_every == 0 or done == spec.steps)
                results: dict[str, float] = {}
                if validate and log.enabled and validation is not None:
                    with log.paused():
                        results = _validate(processes, to_sample_from, validation, spec.batch, seed)
                log.flush(results)
            due = done % spec.save_every == 0 or done == spec.steps or interruption.requested
            if done in kept or due:
                finite.check()
            with log.paused():
                if done in kept and place.rank == 0:
                    keep(to_sample_from, done)
                if due:
                    kept_log = {"log": log.rows, "interval": log.interval()}
                    _save(processes, saved, {**state, **kept_log, "step": done, "identity": identity})
                if interruption.requested and done < spec.steps:
                    leave(f"SIGTERM: the training stops after step {done}, whose state is saved.")
            progress.count(done, spec.steps, "step", log.summary())
    log.close()
    return to_sample_from


def forget(folder: Path) -> None:
    """Deletes the saved state of a finished training, and partial files left in its folder by dead processes.

    Call it once the result of the training is on disk, and Snakemake knows it.
    """
    (folder / STATE).unlink(missing_ok=True)
    for name in (STATE, LOG):
        remove_left_overs(folder / name)


@torch.no_grad()
def _validate(
    processes: Processes, model: nn.Module, validation: Feed, size: int, seed: int
) -> dict[str, float]:
    """Loss and terms of the current weights to sample from, mean over the samples of the validation."""
    training = model.training
    model.eval()
    torch.manual_seed(seed)  # the same noise at every validation
    sums: dict[str, float] = {}
    for batch in validation.in_order(size, processes.place):
        loss, terms = processes.validated(model, batch)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch["state"])
    model.train(training)
    return {name: total / validation.samples for name, total in sums.items()}


def is_first_process() -> bool:
    """Whether this process writes the results: it is the only process or the first of several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def learning_rate_factor(step: int, spec: TrainingSpec) -> float:
    """Learning rate at a step over its peak: linear warm-up, then a half cosine or a constant."""
    if step < spec.warmup:
        return (step + 1) / spec.warmup
    if spec.decay == "constant":
        return 1.0
    fraction = (step - spec.warmup) / max(1, spec.steps - spec.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


class _Finite:
    """Whether the loss and the gradient have been finite.

    Args:
        device: the device of the training.
        saved: the path of the saved state, for the message.
    """

    def __init__(self, device: torch.device, saved: Path) -> None:
        self.at_once = device.type == "cpu"
        self.saved = saved
        self.never = torch.iinfo(torch.int64).max
        self.first = torch.full((), self.never, dtype=torch.int64, device=device)

    def note(self, value: Tensor, step: int) -> None:
        """Notes on the device whether a value of a step is finite; on a CPU, raises if it is not."""
        ok = torch.isfinite(value).all()
        if self.at_once:
            if not bool(ok):
                raise self._error(step)
        else:
            self.first = torch.minimum(self.first, torch.where(ok, self.never, step))

    def check(self) -> None:
        """Waits for the device.

        Raises:
            DivergedTrainingError: a noted value was not finite.
        """
        if not self.at_once and (step := int(self.first)) != self.never:
            raise self._error(step)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Replaces an error that follows from an earlier loss or gradient that was not finite."""
        try:
            yield
        except DivergedTrainingError:
            raise
        except Exception:
            self.check()
            raise

    def _error(self, step: int) -> DivergedTrainingError:
        exists = self.saved.exists()
        kept = f"The last saved state is kept in {self.saved}." if exists else "No state was saved yet."
        return DivergedTrainingError(
            f"the loss or its gradient is not finite at step {step + 1}. Lower `training.learning_rate`, set "
            f"`training.gradient_clip`, or check the data for NaN. {kept}"
        )


@contextmanager
def _deferred_if_alone(place: Place) -> Iterator[Interruption]:
    """Defers SIGTERM to the end of a step. Several processes cannot agree on a step, and exit at once."""
    if place.world == 1:
        with deferred() as interruption:
            yield interruption
    else:
        yield Interruption()


@contextmanager
def _compiled(model: nn.Module, spec: TrainingSpec) -> Iterator[None]:
    """Compiles the model's loss within the context, if the settings ask for it.

    The compiled loss draws the random numbers of the original one.
    """
    if not spec.compile:
        yield
        return
    eager = cast("Trainable", model).loss
    vars(model)["loss"] = torch.compile(eager, options={"fallback_random": True})
    try:
        yield
    finally:
        del vars(model)["loss"]


def _save(processes: Processes, path: Path, state: Mapping[str, object]) -> None:
    partial = partial_of(path)
    processes.save(partial, state)
    if processes.place.rank == 0:
        replace_durably(partial, path)
    processes.barrier()


def _resume(
    path: Path, state: Mapping[str, _Stateful], identity: str, spec: TrainingSpec
) -> tuple[int, list[dict[str, float]], Interval | None]:
    """Loads a saved state of the same identity into `state`, if there is one.

    Returns:
        The step of the saved state, the rows of its log and the interval that it was saved in; zero, no rows
        and no interval if there is no such state.

    Raises:
        SavedStateError: the saved state has this identity but does not fit the model.
    """
    if not path.exists():
        return 0, [], None
    try:
        found = read_tensors(path)
    except Exception as error:
        logger.warning("%s cannot be read (%s): training starts from scratch.", path, error)
        return 0, [], None
    if not isinstance(found, dict) or not {"identity", "step", "log", *state} <= set(found):
        logger.warning("%s is not the saved state of a training: training starts from scratch.", path)
        return 0, [], None
    if found["identity"] != identity:
        logger.info("%s belongs to another training: training starts from scratch.", path)
        return 0, [], None
    try:
        _require_sound(found, cast("torch.optim.Optimizer", state["optimiser"]), spec)
        for name, part in state.items():
            part.load_state_dict(found[name])
    except Exception as error:
        reason = str(error).splitlines()[-1].strip()
        raise SavedStateError(
            f"{path} belongs to this training but does not fit its model ({type(error).__name__}: {reason}). "
            f"Delete it to start the training from scratch."
        ) from error
    logger.info("resuming at step %d", found["step"])
    return found["step"], found["log"], found.get("interval")


def _require_sound(found: dict[str, Any], optimiser: torch.optim.Optimizer, spec: TrainingSpec) -> None:
    """Checks what `load_state_dict` does not: step, log, finite values, and the shapes of Adam's moments.

    Fused Adam steps would write out of bounds if a moment were smaller than its parameter.

    Raises:
        ValueError: one of these is invalid.
    """
    step, rows = found["step"], found["log"]
    if type(step) is not int or not 0 < step <= spec.steps:
        raise ValueError(f"its step is {step!r}, expected an integer from 1 to {spec.steps}")
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
    ends = {*range(spec.log_every, step + 1, spec.log_every), *([step] if step == spec.steps else [])}
    if logged != [float(s) for s in sorted(ends)]:
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
