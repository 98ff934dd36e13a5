"""The files of an interrupted training, and the handling of damaged or foreign files."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch

from plumbline.cli import main
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.stages import train as stage
from plumbline.stages.trained import WeightsError, example_of, load_model, read_card, read_training_log
from plumbline.storage import CorruptStoreError, lock
from plumbline.storage.store import open_parts, write_store
from plumbline.training import TrainingSpec
from plumbline.training._nodes import STEP, NodesError
from plumbline.training._processes import DevicesError
from plumbline.training.loop import SavedStateError

TRAINING = {
    "steps": 20,
    "batch": 16,
    "warmup": 2,
    "save_every": 6,
    "log_every": 5,
    "accelerator": "cpu",
    "checkpoints": 4,
}


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "part-0000.zarr"
    data = GaussianSpec(parts=1, splits={"train": 64, "validation": 2, "test": 2})
    write_store(data.draw_part(0), path)
    return path


def run(part, output, **training):
    model = DiffusionSpec(
        network={"kind": "mlp", "width": 8, "blocks": 1, "embedding": 8},
        training=TrainingSpec(**TRAINING | training),
    )
    values = {
        "model": model.model_dump(mode="json"),
        "constraints": {},
        "models": {},
        "constraint_models": {},
        "memory": 2.0,
    }
    stage.train(json.dumps(values), seed=0, dataset=[part], output=output)


def weights_of(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(part, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(part, folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of the trained model."""
    return shutil.copytree(whole, tmp_path / "model")


@pytest.fixture
def load(part):
    return lambda folder: load_model(folder, example_of(open_parts([part])))


@pytest.mark.parametrize("failing", ["save_model", "_put_in_place"])
def test_a_training_that_fails_at_its_end_loses_nothing(part, whole, tmp_path, monkeypatch, failing):
    """The disk is full when the result is written.

    After Snakemake deletes it, it is rebuilt from the last saved state.
    """

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    real = getattr(stage, failing)
    if failing == "save_model":  # save_model also writes checkpoints
        monkeypatch.setattr(
            stage, failing, lambda m, f, *rest: full() if f == tmp_path else real(m, f, *rest)
        )
    else:
        monkeypatch.setattr(stage, failing, full)
    with pytest.raises(OSError, match="No space"):
        run(part, tmp_path)
    assert (tmp_path / "state.pt").exists()
    for name in ("weights.pt", "model.json", "training_log.csv"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    monkeypatch.setattr(stage, failing, real)
    run(part, tmp_path)
    stage.forget_trainings([tmp_path])
    assert not (tmp_path / "state.pt").exists()
    for name in ("", "checkpoints/step5", "checkpoints/step20"):
        one, other = weights_of(whole / name), weights_of(tmp_path / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert not [
        path.name for path in tmp_path.iterdir() if "partial" in path.name or path.name.startswith(".")
    ]


@pytest.mark.parametrize(
    "junk",
    [lambda p: p.write_bytes(b"junk"), lambda p: torch.save([1, 2], p), lambda p: torch.save({"a": 1}, p)],
)
def test_what_is_no_saved_state_is_said_and_left(part, whole, tmp_path, caplog, junk):
    junk(tmp_path / "state.pt")
    with caplog.at_level(logging.WARNING, logger="plumbline"):
        run(part, tmp_path)
    assert "training starts from scratch" in caplog.text
    assert torch.equal(*(next(iter(weights_of(f).values())) for f in (whole, tmp_path)))


def test_a_saved_state_that_does_not_fit_its_model_is_refused(part, tmp_path, monkeypatch):
    run(part, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    state["model"] = {f"module.{name}": tensor for name, tensor in state["model"].items()}
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(
        SavedStateError, match=r"state\.pt belongs to this training but does not fit its model"
    ):
        run(part, tmp_path)


def first_moments(state):
    return state["optimiser"]["state"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(step=-3), "its step is -3, expected an integer from 1 to 20"),
        (lambda s: s.update(step=2.5), "its step is 2.5, expected an integer from 1 to 20"),
        (lambda s: s.update(step=400), "its step is 400, expected an integer from 1 to 20"),
        (lambda s: s["schedule"].update(last_epoch=3), "its learning rate is that of step 3"),
        (lambda s: s.update(log=[{"step": "5"}]), "does not consist of rows of numbers"),
        (lambda s: s.update(log=s["log"][1:]), "does not have the rows of 20 steps"),
        (lambda s: first_moments(s).update(exp_avg=torch.zeros(1)),
         r"exp_avg of parameter 0 has the shape \(1,\)"),
        (lambda s: first_moments(s)["exp_avg_sq"].fill_(torch.inf),
         "optimiser.state.0.exp_avg_sq has values that are not"),
        (lambda s: next(iter(s["model"].values())).fill_(torch.nan), "not finite"),
        (lambda s: s["optimiser"].pop("state"), "KeyError"),
    ],
)  # fmt: skip
def test_a_saved_state_that_is_nonsense_is_refused(part, tmp_path, monkeypatch, change, said):
    """With smaller moments, Adam's fused step would write out of bounds."""
    run(part, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(SavedStateError, match=rf"does not fit its model .*{said}.* from scratch"):
        run(part, tmp_path)


def flipped(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.pt", "model.json", "training_log.csv"])
def test_a_flipped_bit_changes_no_number_unnoticed(folder, load, name):
    """60 flips per file at random positions.

    Each is refused with the file's name or changes no value that is read.
    """

    def found():
        model = load(folder)
        return (
            read_training_log(folder),
            read_card(folder),
            {n: t.clone() for n, t in model.state_dict().items()},
        )

    path, (log, card, weights) = folder / name, found()
    written = path.read_bytes()
    said = []
    for bit in np.random.default_rng(0).integers(8 * len(written), size=60).tolist():
        flipped(path, bit)
        try:
            now = found()
        except CorruptStoreError as error:
            said.append(str(error))
        else:
            assert now[:2] == (log, card)
            assert all(torch.equal(now[2][key], tensor) for key, tensor in weights.items())
        path.write_bytes(written)
    assert len(said) > 20
    assert all(name in one and "the training will be repeated" in one for one in said)


def test_a_damaged_saved_state_is_not_resumed(part, whole, tmp_path, monkeypatch, caplog):
    run(part, tmp_path)
    with zipfile.ZipFile(tmp_path / "state.pt") as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    flipped(tmp_path / "state.pt", 8 * (largest.header_offset + 200 + largest.file_size // 2))
    with caplog.at_level(logging.WARNING, logger="plumbline"):
        run(part, tmp_path)
    assert "is not what was written" in caplog.text
    assert torch.equal(*(next(iter(weights_of(f).values())) for f in (whole, tmp_path)))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda w: {f"module.{n}": t for n, t in w.items()}, WeightsError, "without the prefix `module.`"),
        (lambda w: {n: t.half() for n, t in w.items()}, WeightsError,
         "torch.float16, expected .* and torch.float32"),
        (lambda w: {n: t[..., :1] for n, t in w.items() if t.ndim} | {n: t for n,
         t in w.items() if not t.ndim},
         WeightsError, "has the shape"),
        (lambda w: dict(list(w.items())[1:]), WeightsError, "1 tensors are missing"),
        (lambda w: {n: t * float("nan") for n, t in w.items()}, CorruptStoreError,
         "not finite, the first of them"),
        (lambda w: list(w.values()), CorruptStoreError, "expected tensors by name"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_refused_by_name(folder, load, change, error, said):
    torch.save(change(weights_of(folder)), folder / "weights.pt")
    with pytest.raises(error, match=rf"weights\.pt.*{said}"):
        load(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"spec": {}}', '{"spec": {"model": {"kind": "nothing"}}}']
)
def test_a_card_that_is_nonsense_is_refused_by_name(folder, load, content):
    (folder / "model.json").write_text(content)
    with pytest.raises(
        CorruptStoreError, match=r"model\.json cannot be read .* the training will be repeated"
    ):
        load(folder)


HOLD = """
import sys, time
from pathlib import Path
from plumbline.storage.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1.0)
    print("given back", flush=True)
"""


def test_a_second_writer_waits_for_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOOK", 0.05)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        assert (tmp_path / lock.NAME).read_text() == f"{socket.gethostname()}.{first.pid}"
        with lock.only_writer(tmp_path):
            assert first.stdout.readline() == "given back\n"
            assert (tmp_path / lock.NAME).read_text() == f"{socket.gethostname()}.{os.getpid()}"
        assert first.wait(timeout=60) == 0
    assert not list(tmp_path.iterdir())


def test_a_training_that_snakemake_does_not_know_to_have_ended_is_not_repeated(
    part, whole, tmp_path, caplog, monkeypatch
):
    """Snakemake was killed while the job ran. It deletes the outputs and starts the job again."""
    run(part, tmp_path)
    for name in ("weights.pt", "model.json", "training_log.csv"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    steps = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: steps.append(1))
    with caplog.at_level(logging.INFO, logger="plumbline"):
        run(part, tmp_path)
    assert "resuming at step 20" in caplog.text
    assert not steps
    for name in ("", "checkpoints/step5", "checkpoints/step20"):
        one, other = weights_of(whole / name), weights_of(tmp_path / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert [row["step"] for row in read_training_log(tmp_path)] == [5, 10, 15, 20]


def test_a_state_in_use_is_not_deleted(part, tmp_path):
    run(part, tmp_path)
    (tmp_path / lock.NAME).write_text("elsewhere.7")
    stage.forget_trainings([tmp_path])
    assert (tmp_path / "state.pt").exists()
    (tmp_path / lock.NAME).unlink()
    stage.forget_trainings([tmp_path])
    left = {"weights.pt", "model.json", "training_log.csv", "checkpoints"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_training_over_several_machines_needs_slurm(part, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    said = r"`training.nodes` is 2, but this process is in no job of SLURM.*profiles/slurm.*`nodes: 1`"
    with pytest.raises(NodesError, match=said):
        run(part, tmp_path, nodes=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tasks", "said"),
    [({}, "SLURM_PROCID is not set"), ({"PROCID": "1", "NTASKS": "4", "NNODES": "2"}, "SLURM_NTASKS is 4")],
)
def test_tasks_of_another_number_are_refused_before_they_wait(part, tmp_path, monkeypatch, tasks, said):
    monkeypatch.setenv(STEP, "1")
    for name in ("PROCID", "NTASKS", "NNODES"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in tasks.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(DevicesError, match=rf"SLURM must start 2 tasks on 2 machines, but .*{said}"):
        run(part, tmp_path, nodes=2)


SUSPENDED = """
import sys, time
from pathlib import Path
from plumbline.storage import lock
lock.BEAT = 0.05
with lock.only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_goes_on_after_it_lost_its_lock_is_stopped(tmp_path, monkeypatch):
    """It was suspended for longer than `STALE`. There are never two writers at work."""
    monkeypatch.setattr(lock, "STALE", 0.5)
    command = [sys.executable, "-c", SUSPENDED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        assert first.stdout.readline() == "held\n"
        first.send_signal(signal.SIGSTOP)
        with lock.only_writer(tmp_path):
            first.send_signal(signal.SIGCONT)
            assert first.wait(timeout=60) == -signal.SIGKILL


def test_a_lock_is_as_old_as_the_file_system_says(tmp_path, monkeypatch):
    """The clock of this machine may differ from that of another one."""
    (tmp_path / lock.NAME).write_text("elsewhere.7")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert lock._age(tmp_path / lock.NAME) < 60
    assert not lock._taken(tmp_path / lock.NAME)


def test_a_dead_writers_lock_is_taken_over(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = socket.gethostname()
    # The last process had the ID that this process has now.
    for holder, age in (
        (f"{here}.{ended.pid}", 0),
        ("elsewhere.7", 2 * lock.STALE),
        (f"{here}.{os.getpid()}", 0),
    ):
        (tmp_path / lock.NAME).write_text(holder)
        os.utime(tmp_path / lock.NAME, times=(time.time() - age,) * 2)
        with lock.only_writer(tmp_path):
            pass


def test_a_job_whose_orphan_ends_the_training_keeps_its_result(part, whole, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(stage.time, "time", lambda: 0.0)
    shutil.copytree(whole, tmp_path / "model")
    before = (tmp_path / "model" / "weights.pt").stat().st_mtime_ns
    with caplog.at_level(logging.INFO, logger="plumbline"):
        run(part, tmp_path / "model")
    assert "its result is kept" in caplog.text
    assert (tmp_path / "model" / "weights.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("tasks", ["1", "4"])
def test_an_allocation_of_slurm_changes_nothing_of_a_training(part, whole, tmp_path, monkeypatch, tasks):
    for name, value in {
        "JOB_ID": "1",
        "NTASKS": tasks,
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
        "JOB_NAME": "a",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    run(part, tmp_path)
    assert torch.equal(*(next(iter(weights_of(f).values())) for f in (whole, tmp_path)))


def test_fewer_processes_than_asked_for_are_an_error(part, tmp_path, monkeypatch, capsys):
    """For example, where something else started this process as one of one."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    model = DiffusionSpec(network={"kind": "mlp", "width": 8}, training=TrainingSpec(**TRAINING))
    training = TrainingSpec(**TRAINING | {"devices": 2})
    values = {
        "model": model.model_copy(update={"training": training}).model_dump(mode="json"),
        "constraints": {}, "models": {}, "constraint_models": {}, "memory": 2.0,
    }  # fmt: skip
    monkeypatch.setattr("lightning_fabric.Fabric.launch", lambda self: None)
    monkeypatch.setattr("lightning_fabric.Fabric.world_size", 1)
    command = [
        "stage",
        "train",
        "--spec",
        json.dumps(values),
        "--seed",
        "0",
        "--dataset",
        str(part),
        "--output",
        str(tmp_path),
    ]
    assert main(command) == 1
    assert "`training.devices` is 2, but the number of processes is 1" in capsys.readouterr().err


def test_a_training_in_double_precision_is_drawn_from_in_single(part, tmp_path, load):
    run(part, tmp_path, precision="64-true")
    assert {tensor.dtype for tensor in weights_of(tmp_path).values()} == {torch.float64}
    assert {tensor.dtype for tensor in load(tmp_path).state_dict().values()} == {torch.float32}
