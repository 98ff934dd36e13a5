"""The training loop: bitwise resuming, NaN, averages, schedules, logs."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from plumbline.cli import main
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.devices import NoGPUError
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.stages.train import forget_trainings
from plumbline.storage.store import write_store
from plumbline.training import TrainingSpec
from plumbline.training._processes import FabricProcess
from plumbline.training.feed import InMemory, batch_indices
from plumbline.training.log import read_log
from plumbline.training.loop import DivergedTrainingError, _Finite, learning_rate_factor, train

PLUMBLINE = str(Path(sys.executable).parent / "plumbline")
# Seconds. A test of 13 seconds has taken 200 on a busy machine.
HANGS_AFTER = 600


class Line(nn.Module):
    """y = a x + b by least squares; `after_step` counts its calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, batch):
        x = batch["state"]
        error = (self.layer(x + 0.1 * torch.randn_like(x)) - (3 * x + 1)).square().mean()
        return error, {"squares": error.detach()}

    def after_step(self, terms):
        self.steps += 1


DATA = {"state": torch.linspace(-1, 1, 50)[:, None]}


def spec(**values):
    given = {"steps": 60, "batch": 16, "warmup": 5, "save_every": 20, "log_every": 10, "accelerator": "cpu"}
    return TrainingSpec(**(given | values))


def run(folder, identity="a", model=None, validation=None, **values):
    torch.manual_seed(0)
    return train(
        model or Line(),
        InMemory(DATA),
        spec(**values),
        validation=None if validation is None else InMemory(validation),
        seed=3,
        folder=folder,
        identity=identity,
    )


def test_it_learns(tmp_path):
    model = run(tmp_path, steps=600, learning_rate=0.05, ema=0.9)
    assert model.layer.weight.item() == pytest.approx(3, abs=0.15)
    assert model.layer.bias.item() == pytest.approx(1, abs=0.1)
    assert (tmp_path / "state.pt").exists()  # kept until the caller deletes it after writing the result


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_checkpoint_is_the_training_that_ends_there(tmp_path, ema):
    """At a constant learning rate, a training of 20 steps is the first third of one of 60."""
    kept = {}

    def keep(model, step):
        kept[step] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    torch.manual_seed(0)
    values = {"decay": "constant", "ema": ema}
    train(
        Line(), InMemory(DATA), spec(checkpoints=3, **values), seed=3, folder=tmp_path / "long",
        identity="a",
        keep=keep,
    )  # fmt: skip
    assert list(kept) == [20, 40, 60]
    short = run(tmp_path / "short", steps=20, **values)
    for name, tensor in short.state_dict().items():
        assert torch.equal(kept[20][name], tensor), name


def test_wall_time_begins_with_the_preparation_and_leaves_out_what_is_kept(tmp_path):
    train(
        Line(), InMemory(DATA), spec(checkpoints=6), seed=3, folder=tmp_path, identity="a",
        keep=lambda model, step: time.sleep(0.2), spent=100.0,
    )  # fmt: skip
    seconds = _log(tmp_path, "wall_time_seconds")
    assert 100 < seconds[0] < seconds[-1] < 101


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_the_momentum_is_that_of_adam(tmp_path, beta1):
    """Agrees with Adam's recursion (Kingma and Ba 2015, algorithm 1, https://arxiv.org/abs/1412.6980)."""
    gradients, weights = [], []

    class Records(Line):
        def after_step(self, terms):
            super().after_step(terms)
            gradients.append(float(self.layer.weight.grad))
            weights.append(float(self.layer.weight.detach()))

    values = {"warmup": 0, "decay": "constant", "gradient_clip": 0.0, "learning_rate": 0.01}
    run(tmp_path, model=_seeded(Records), beta1=beta1, steps=30, **values)
    first = second = 0.0
    for i, gradient in enumerate(gradients):
        first = beta1 * first + (1 - beta1) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        moved = 0.01 * first / (1 - beta1 ** (i + 1)) / (np.sqrt(second / (1 - 0.999 ** (i + 1))) + 1e-8)
        if i:
            assert weights[i] == pytest.approx(weights[i - 1] - moved, abs=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_training_ends_at_the_same_bits(tmp_path, ema):
    whole = run(tmp_path / "whole", ema=ema)

    class Stops(Line):
        def loss(self, batch):
            if int(self.steps) == 47:
                raise KeyboardInterrupt
            return super().loss(batch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", model=_seeded(Stops), ema=ema)
    assert (tmp_path / "cut" / "state.pt").exists()
    torch.manual_seed(99)
    resumed = run(tmp_path / "cut", model=Line(), ema=ema)
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert _log(tmp_path / "whole", "loss") == _log(tmp_path / "cut", "loss")


def _seeded(kind):
    torch.manual_seed(0)
    return kind()


def _log(folder, column):
    with (folder / "training_log.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def test_the_state_of_another_training_is_not_resumed(tmp_path):
    class Stops(Line):
        def loss(self, batch):
            if int(self.steps) == 30:
                raise KeyboardInterrupt
            return super().loss(batch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, model=Stops())
    afresh, never_cut = run(tmp_path, identity="b"), run(tmp_path / "other", identity="b")
    assert torch.equal(afresh.layer.weight, never_cut.layer.weight)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path):
    class Breaks(Line):
        def loss(self, batch):
            loss, terms = super().loss(batch)
            return (loss * torch.nan if int(self.steps) == 45 else loss), terms

    with pytest.raises(DivergedTrainingError, match=r"not finite at step 46.*learning_rate.*kept in"):
        run(tmp_path, model=Breaks())
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == 40
    assert all(torch.isfinite(t).all() for t in kept["model"].values())


def test_the_average_is_that_of_the_weights(tmp_path):
    """Agrees with the explicit recursion, whose decay rises as (1 + n) / (10 + n)."""
    seen = []

    class Records(Line):
        def after_step(self, terms):
            super().after_step(terms)
            seen.append(self.layer.weight.detach().clone())

    averaged = run(tmp_path, model=_seeded(Records), steps=30, ema=0.8)
    # The first update copies; after_step runs after the average has been updated with the step's weights.
    expected = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        decay = min(0.8, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(averaged.layer.weight, expected)


def test_learning_rate():
    s = spec(steps=105, warmup=5)
    assert learning_rate_factor(0, s) == pytest.approx(0.2)
    assert learning_rate_factor(4, s) == learning_rate_factor(5, s) == 1.0
    assert learning_rate_factor(55, s) == pytest.approx(0.5)
    assert learning_rate_factor(105, s) == pytest.approx(0.0)
    assert learning_rate_factor(77, spec(decay="constant")) == 1.0


def test_an_epoch_sees_every_sample_once():
    s = spec(steps=9, batch=16)
    drawn = [indices for _, indices in batch_indices(48, s, seed=1, start=0)]
    for epoch in range(3):
        assert torch.cat(drawn[3 * epoch : 3 * epoch + 3]).sort().values.tolist() == list(range(48))
    late = [indices for _, indices in batch_indices(48, s, seed=1, start=5)]
    assert all(torch.equal(a, b) for a, b in zip(drawn[5:], late, strict=True))


def test_one_process_computes_what_fabric_computes(tmp_path, monkeypatch):
    plain = run(tmp_path / "plain", ema=0.9)
    monkeypatch.setattr("plumbline.training.loop.processes_of", FabricProcess)
    fabric = run(tmp_path / "fabric", ema=0.9)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, fabric.state_dict()[name]), name


def test_double_precision_is_that_of_every_operation(tmp_path):
    """The loss of a training in double precision is recomputed from its last weights to 1e-12."""
    kept = []

    class Recorded(Line):
        def loss(self, batch):
            assert batch["state"].dtype == self.layer.weight.dtype == torch.float64
            assert torch.zeros(1).dtype == torch.float64
            kept.append(super().loss(batch)[0].dtype)
            return super().loss(batch)

    run(tmp_path, model=Recorded(), precision="64-true", steps=20)
    assert set(kept) == {torch.float64}
    assert torch.get_default_dtype() == torch.float32


def test_bfloat16_computes_products_and_keeps_weights_in_single_precision(tmp_path):
    products = []

    class Recorded(Line):
        def loss(self, batch):
            products.append(self.layer(batch["state"]).dtype)
            return super().loss(batch)

    model = run(tmp_path, model=Recorded(), precision="bf16-mixed", steps=600, learning_rate=0.05, ema=0.9)
    assert set(products) == {torch.bfloat16}
    assert model.layer.weight.dtype == torch.float32
    assert model.layer.weight.item() == pytest.approx(3, abs=0.2)


@pytest.mark.slow
def test_a_compiled_loss_draws_the_same_noise_and_leaves_the_model_as_it_was(tmp_path):
    """Compiled and eager trainings agree to the rounding of 60 steps in single precision."""
    plain = run(tmp_path / "plain", ema=0.9)
    compiled = run(tmp_path / "compiled", ema=0.9, compile=True)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, compiled.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert "loss" not in vars(compiled)


def test_a_gpu_that_is_not_there_is_an_error(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(NoGPUError, match="`accelerator` is `gpu`, and PyTorch finds no GPU"):
        run(tmp_path, accelerator="gpu")


def test_on_a_device_the_first_step_that_is_not_finite_is_found_later(tmp_path):
    finite = _Finite(torch.device("cpu"), tmp_path / "state.pt")
    finite.at_once = False  # as on a GPU
    finite.note(torch.tensor(1.0), 3)
    finite.check()
    for step, value in ((4, 1.0), (5, float("inf")), (6, float("nan")), (7, 1.0)):
        finite.note(torch.tensor(value), step)
    with pytest.raises(DivergedTrainingError, match="not finite at step 6"):
        finite.check()
    with pytest.raises(DivergedTrainingError, match="not finite at step 6"), finite.watching():
        torch.linalg.cholesky(torch.full((2, 2), float("nan")))


def test_the_log_has_terms_speed_and_time(tmp_path):
    run(tmp_path, tensorboard=True)
    with (tmp_path / "training_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["step"]) for r in rows] == [10, 20, 30, 40, 50, 60]
    columns = {"step", "loss", "squares", "learning_rate", "steps_per_second", "wall_time_seconds"}
    assert set(rows[0]) == columns
    assert all(float(r["steps_per_second"]) > 0 for r in rows)
    assert list((tmp_path / "tensorboard").iterdir())


def test_validations_judge_the_averaged_weights_and_change_no_bit(tmp_path):
    """The last validation is that of the returned weights.

    A training without validations ends with the same weights.
    """
    held_out = {"state": torch.linspace(-2, 2, 23)[:, None]}
    plain = run(tmp_path / "plain", ema=0.9)
    model = run(tmp_path / "validated", ema=0.9, validation=held_out, validate_every=20)
    assert torch.equal(plain.layer.weight, model.layer.weight)
    rows = read_log(tmp_path / "validated" / "training_log.csv")
    assert [row["step"] for row in rows if "validation_loss" in row] == [20, 40, 60]
    torch.manual_seed(3)
    with torch.no_grad():
        losses = [
            float(model.loss({"state": part})[0]) for part in (held_out["state"][:16], held_out["state"][16:])
        ]
    expected = (16 * losses[0] + 7 * losses[1]) / 23
    assert rows[-1]["validation_loss"] == pytest.approx(expected, rel=1e-6)
    assert rows[-1]["validation_squares"] == rows[-1]["validation_loss"]


def test_validations_survive_an_interruption(tmp_path):
    class Stops(Line):
        def loss(self, batch):
            if int(self.steps) == 47:
                raise KeyboardInterrupt
            return super().loss(batch)

    held_out = {"state": torch.linspace(-2, 2, 23)[:, None]}
    run(tmp_path / "whole", validation=held_out, validate_every=20)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", model=_seeded(Stops), validation=held_out, validate_every=20)
    run(tmp_path / "cut", validation=held_out, validate_every=20)
    whole, cut = (
        [row.get("validation_loss") for row in read_log(tmp_path / name / "training_log.csv")]
        for name in ("whole", "cut")
    )
    assert whole == cut
    assert whole[1] is not None


def test_a_validation_falls_on_a_row_of_the_log():
    with pytest.raises(
        ValidationError, match=r"`validate_every` \(15\) must be a multiple of `log_every` \(10\)"
    ):
        spec(validate_every=15)


@pytest.fixture(scope="module")
def small_job(tmp_path_factory):
    """The arguments of a training on the command line that takes a few seconds."""
    folder = tmp_path_factory.mktemp("job")
    data = GaussianSpec(parts=1, splits={"train": 512, "validation": 2, "test": 2})
    write_store(data.draw_part(0), folder / "part-0000.zarr")
    model = DiffusionSpec(
        network={"kind": "mlp", "width": 32, "blocks": 1, "embedding": 8},
        training=spec(steps=900, save_every=100, checkpoints=30, ema=0.99).model_dump(),
    )

    def arguments(output, **training):
        changed = model.model_copy(update={"training": model.training.model_copy(update=training)})
        slice_ = json.dumps(
            {
                "model": changed.model_dump(mode="json"),
                "constraints": {},
                "models": {},
                "constraint_models": {},
                "memory": 2.0,
            }
        )
        return [
            PLUMBLINE, "stage", "train", "--spec", slice_, "--seed", "1",
            "--dataset", str(folder / "part-0000.zarr"), "--output", str(output),
        ]  # fmt: skip

    return arguments


def here(job):
    """Runs a job in this process, which saves it the import of torch."""
    assert main(job[1:]) == 0


def test_a_killed_process_resumes_to_the_same_bits(small_job, tmp_path, capsys):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    here(small_job(tmp_path / "whole"))
    cut = tmp_path / "cut"
    process = subprocess.Popen(small_job(cut), stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + HANGS_AFTER
    while not (cut / "state.pt").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "weights.pt").exists()
    # Snakemake deletes the outputs of a failed job.
    (cut / "training_log.csv").unlink()
    capsys.readouterr()
    here(small_job(cut))
    assert "resuming at step" in capsys.readouterr().err
    one, other = (torch.load(tmp_path / f / "weights.pt", weights_only=True) for f in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _log(cut, "step") == _log(tmp_path / "whole", "step")
    assert _log(cut, "wall_time_seconds") == sorted(_log(cut, "wall_time_seconds"))
    # Checkpoints from before the kill are kept along with those from after it.
    assert {path.name for path in (cut / "checkpoints").iterdir()} == {f"step{30 * i}" for i in range(1, 31)}
    for step in (30, 600, 900):
        one, other = (
            torch.load(tmp_path / f / "checkpoints" / f"step{step}" / "weights.pt", weights_only=True)
            for f in ("whole", "cut")
        )
        assert all(torch.equal(one[name], other[name]) for name in one), step
    forget_trainings([cut])
    assert not list(cut.glob("*.partial"))
    assert json.loads((cut / "model.json").read_text())["parameters"] > 0


def test_a_cancelled_job_saves_its_state_and_frees_its_lock(small_job, tmp_path, capsys):
    """A cluster sends SIGTERM: nothing of the training is lost, in the middle of an interval of its log."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    settings = {"save_every": 900, "log_every": 7, "checkpoints": 2}
    here(small_job(tmp_path / "whole", **settings))
    cut = tmp_path / "cut"
    process = subprocess.Popen(small_job(cut, **settings), stderr=subprocess.PIPE, env=environment, text=True)
    deadline = time.monotonic() + HANGS_AFTER
    while not (cut / "training_log.csv").exists():
        assert process.poll() is None, "the training ended before it could be cancelled"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=HANGS_AFTER) == 143
    assert "the training stops after step" in process.stderr.read()
    assert not (cut / ".writer").exists()
    capsys.readouterr()
    here(small_job(cut, **settings))
    assert "resuming at step" in capsys.readouterr().err
    one, other = (torch.load(tmp_path / f / "weights.pt", weights_only=True) for f in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    for column in ("step", "loss"):
        assert _log(cut, column) == _log(tmp_path / "whole", column)


@pytest.mark.slow
def test_two_processes_share_a_batch(small_job, tmp_path):
    """Two CPU processes train together, and one of them writes the result."""
    # Within a one-task step, like a SLURM job: the loop starts the second process itself.
    slurm = {"JOB_ID": "1", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "abc"}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | {f"SLURM_{n}": value for n, value in slurm.items()}
    arguments = small_job(tmp_path, devices=2, steps=40, save_every=20, checkpoints=2)
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=HANGS_AFTER)
    assert done.returncode == 0, done.stderr
    assert "Starting with 2 processes" in done.stderr
    assert (tmp_path / "weights.pt").exists()
    assert _log(tmp_path, "step")[-1] == 40
    assert (tmp_path / "checkpoints" / "step20" / "weights.pt").exists()


IN_TURNS = """
import os
import sys
from pathlib import Path
import torch
from torch import nn
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

class InTurns(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(1, 1), nn.Linear(1, 1)
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, batch):
        layer = self.one if self.steps % 2 else self.other
        error = (layer(batch["state"]) - 3 * batch["state"]).square().mean()
        return error, {"squares": error.detach()}

    def after_step(self, terms):
        self.steps += 1

torch.manual_seed(0)
spec = TrainingSpec(steps=600, batch=16, devices=2, accelerator="cpu", learning_rate=0.05, ema=0.0, warmup=5)
data = {"state": torch.linspace(-1, 1, 64)[:, None]}
model = train(InTurns(), InMemory(data), spec, seed=0, folder=sys.argv[1], identity="test")
slopes = f"{float(model.one.weight)} {float(model.other.weight)}"
Path(sys.argv[1]).with_name(f"slopes-{os.getpid()}").write_text(slopes)
"""


@pytest.mark.slow
def test_two_processes_train_a_model_whose_parts_take_turns(tmp_path):
    """In half of the steps one part has no gradient, like an actor next to its critic.

    Both learn the slope.
    """
    script = tmp_path / "in_turns.py"
    script.write_text(IN_TURNS)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "model")], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=HANGS_AFTER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # One file per process: simultaneous prints of two processes may interleave.
    slopes = [[float(slope) for slope in file.read_text().split()] for file in tmp_path.glob("slopes-*")]
    assert len(slopes) == 2
    assert slopes[0] == slopes[1] == pytest.approx([3, 3], abs=0.05)
