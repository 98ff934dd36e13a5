"""The processes of a training: their devices, their precision, and how they share gradients.

One process needs nothing but torch. Several processes, and float16 with its scaled loss, are left to
Lightning Fabric (https://lightning.ai/docs/fabric), which takes seconds to import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from plumbline import devices
from plumbline.training import Trainable, TrainingSpec
from plumbline.training.feed import Batch, Place

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Loss = tuple[Tensor, dict[str, Tensor]]


class DevicesError(RuntimeError):
    """The number of processes of a training differs from the number of devices requested."""


class Processes(Protocol):
    """This process of a training, among the others."""

    place: Place

    def setup(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Takes the model, which is on the device, and returns the optimiser to step."""
        ...

    def loss(self, batch: Batch) -> Loss:
        """The loss of the model and its terms, in the precision of the training."""
        ...

    def validated(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss of another model, such as the moving average, computed by this process alone."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of the loss, averaged over all processes, to that of each parameter."""
        ...

    def clip(self, largest: float) -> Tensor:
        """Scales the gradient to a norm of at most `largest` and returns the norm that it had."""
        ...

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """Writes a state from the first process."""
        ...

    def barrier(self) -> None:
        """Waits until all processes have come here."""
        ...


def processes_of(spec: TrainingSpec) -> Processes:
    """Starts the further processes of a training, if it has several, and returns this one.

    Raises:
        NoGPUError: the training requires a GPU, and there is none.
        DevicesError: the number of processes is another.
    """
    if spec.nodes * spec.devices == 1 and spec.precision != "16-mixed" and "LOCAL_RANK" not in os.environ:
        return OneProcess(spec)
    return FabricProcess(spec)


class OneProcess:
    """The only process of a training.

    Args:
        spec: the training settings.

    Raises:
        NoGPUError: the training requires a GPU, and there is none.
    """

    def __init__(self, spec: TrainingSpec) -> None:
        self.place = Place(devices.choose(spec.accelerator))
        self.precision = spec.precision

    def setup(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Takes the model; its parameters become doubles if the precision is double."""
        self.model = model.double() if self.precision == "64-true" else model
        return optimiser

    def loss(self, batch: Batch) -> Loss:
        """The loss of the model and its terms."""
        return self.validated(self.model, batch)

    def validated(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss of a model and its terms."""
        if self.precision == "32-true":
            return cast("Trainable", model).loss(batch)
        if self.precision == "64-true":
            with _default_dtype(torch.float64):
                return cast("Trainable", model).loss({name: _double(x) for name, x in batch.items()})
        with torch.autocast(self.place.device.type, dtype=torch.bfloat16):
            return cast("Trainable", model).loss(batch)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of the loss to that of each parameter."""
        loss.backward()

    def clip(self, largest: float) -> Tensor:
        """Scales the gradient to a norm of at most `largest` and returns the norm that it had."""
        return nn.utils.clip_grad_norm_(self.model.parameters(), largest)

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """Writes a state, with the `state_dict` of each of its parts that has one."""
        torch.save(
            {name: getattr(part, "state_dict", lambda p=part: p)() for name, part in state.items()}, path
        )

    def barrier(self) -> None:
        """Returns at once."""


class FabricProcess:
    """One of several processes, each with a device of its own.

    Lightning Fabric launches those of one machine; SLURM has started those of several (`_nodes.py`).

    Args:
        spec: the training settings.

    Raises:
        DevicesError: the number of processes differs from `devices` times `nodes`.
    """

    def __init__(self, spec: TrainingSpec) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

        count = spec.nodes * spec.devices
        if spec.nodes > 1:
            _require_tasks_of_slurm(spec)

        # Models with alternating updates, such as an actor and its critic, have parts without gradients at
        # some steps.
        strategy = "auto" if count == 1 else "ddp_find_unused_parameters_true"
        # On one machine the loop launches its own processes. Within a SLURM allocation, Fabric would
        # otherwise use the tasks of the job step instead.
        environment = SLURMEnvironment(auto_requeue=False) if spec.nodes > 1 else LightningEnvironment()
        self.fabric: Fabric = Fabric(
            accelerator=spec.accelerator,
            strategy=strategy,
            devices=spec.devices,
            num_nodes=spec.nodes,
            precision=spec.precision,
            plugins=[environment],
        )
        devices.require_single_precision()
        self.fabric.launch()
        if self.fabric.world_size != count:
            raise DevicesError(
                f"`training.devices` is {spec.devices}, but the number of processes is "
                f"{self.fabric.world_size}: unset LOCAL_RANK and WORLD_SIZE, or set `devices` to "
                f"{self.fabric.world_size}."
            )
        self.place = Place(self.fabric.device, self.fabric.global_rank, self.fabric.world_size)

    def setup(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Wraps the model for gradients that are averaged over the processes."""
        self.wrapped, self.optimiser = self.fabric.setup(model, optimiser)
        self.wrapped.mark_forward_method("loss")
        return cast("torch.optim.Optimizer", self.optimiser)

    def loss(self, batch: Batch) -> Loss:
        """The loss of the wrapped model and its terms."""
        return self.wrapped.loss(batch)

    def validated(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss of another model, without the wrapper."""
        with self.fabric.autocast():
            return cast("Trainable", model).loss(self.fabric._precision.convert_input(batch))

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of the loss, averaged over the processes, to that of each parameter."""
        self.fabric.backward(loss)

    def clip(self, largest: float) -> Tensor:
        """Scales the gradient to a norm of at most `largest` and returns the norm that it had."""
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimiser, max_norm=largest, error_if_nonfinite=False
        )
        return cast("Tensor", norm)

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """Writes a state from the first process."""
        self.fabric.save(path, dict(state))

    def barrier(self) -> None:
        """Waits until all processes have come here."""
        self.fabric.barrier()


def _require_tasks_of_slurm(spec: TrainingSpec) -> None:
    """Checks the variables of SLURM before Fabric waits for all processes.

    Raises:
        DevicesError: this is no task of SLURM, or the number of tasks or machines is another.
    """
    expected = {"SLURM_NNODES": spec.nodes, "SLURM_NTASKS": spec.nodes * spec.devices}
    found = {name: os.environ.get(name) for name in ("SLURM_PROCID", *expected)}
    if found["SLURM_PROCID"] is None or any(found[name] != str(count) for name, count in expected.items()):
        said = ", ".join(f"{name} is {value or 'not set'}" for name, value in found.items())
        raise DevicesError(
            f"`training.nodes` is {spec.nodes} and `training.devices` {spec.devices}, so that SLURM must "
            f"start {expected['SLURM_NTASKS']} tasks on {spec.nodes} machines, but {said}: run "
            "`snakemake --profile profiles/slurm`, which asks for them, or set `nodes: 1`."
        )


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    former = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(former)
