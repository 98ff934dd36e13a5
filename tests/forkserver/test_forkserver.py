"""A job in a fork of the fork server is the job in a process of its own: results, streams, status, signals.

A process that sleeps takes the place of Snakemake, whose own runs `tests/workflow` tests.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from plumbline.storage.store import is_provenance, load_store
from plumbline.user_code import CodeUnit

LIBRARY = Path(__file__).parents[2] / "pipeline_src"
GAUSSIAN = {"kind": "gaussian", "parts": 1, "splits": {"train": 64, "validation": 16, "test": 16}}
PLUGIN = '''
"""A dataset whose generation tells about its process, and does what a test wants."""
from typing import Literal
import json, os, random, signal, sys, time
import numpy as np
from plumbline.datasets import DatasetSpec

class ProbeSpec(DatasetSpec):
    kind: Literal["probe"] = "probe"
    do: str = "tell"

    def sample_bytes(self):
        return 8

    def draw(self, indices, splits):
        import torch
        import xarray as xr
        if self.do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.do == "sleep":
            with open("started", "a") as file:
                print(os.getpid(), file=file)
            while len(open("started").read().split()) == 1:
                time.sleep(0.02)
        told = {
            "arguments": sys.argv, "folder": os.getcwd(), "environment": sorted(os.environ), "path": sys.path,
            "threads": [torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]],
            "main": sys.modules["__main__"].__spec__.name,
            "umask": os.umask(0o22), "number": NUMBER,
            "term": getattr(signal.getsignal(signal.SIGTERM), "__name__", ""),
            "interrupt": str(signal.getsignal(signal.SIGINT)), "hangup": str(signal.getsignal(signal.SIGHUP)),
            "children": str(signal.getsignal(signal.SIGCHLD)),
            "modules": sorted(m for m in sys.modules if "plumbline_user" in m),
        }
        open("parent", "w").write(str(os.getppid()))
        open("random", "a").write(f"{random.random()} {np.random.rand()} {torch.rand(1).item()}\\n")
        print(json.dumps(told))
        return xr.Dataset({"state": (("sample", "x"), np.zeros((len(indices), 2), np.float32))})
'''


class Run:
    """A Snakemake of ours, and the environment of its jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snakemake = subprocess.Popen(["sleep", "600"])
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "GOTO")}
        self.library = folder.parent / "library"
        if not self.library.exists():
            shutil.copytree(LIBRARY, self.library)
        self.environment = {
            **os.environ, **single, "PYTHONPATH": str(self.library), "PYTHONSAFEPATH": "1",
            "PLUMBLINE_FORK_SERVER": str(self.snakemake.pid),
        }  # fmt: skip

    def start(self, spec: dict, output: str = "part.zarr", **variables: str) -> subprocess.Popen[str]:
        client = self.library / "plumbline" / "forkserver" / "client.py"
        arguments = ["--spec", json.dumps(spec), "--part", "0", "--output", output]
        return subprocess.Popen(
            [sys.executable, "-IS", str(client), "stage", "generate", *arguments],
            cwd=self.folder, env=self.environment | variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # A shell that runs the tests in the background ignores this signal for all of its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def finish(self, spec: dict, output: str = "part.zarr", **variables: str) -> str:
        job = self.start(spec, output, **variables)
        said, errors = job.communicate(timeout=300)
        assert job.returncode == 0, errors
        return said

    def probe(self, do: str = "tell", number: int = 0) -> dict:
        """The spec of the plug-in. Another number makes another plug-in."""
        file = self.folder / "probe.py"
        file.write_text(PLUGIN.replace("NUMBER", str(number)))
        origin = CodeUnit.of(str(file))
        return {"kind": "probe", "do": do, "plugin": str(origin), "splits": GAUSSIAN["splits"], "parts": 1}

    def parent(self) -> int:
        return int((self.folder / "parent").read_text())

    def running(self) -> int:
        """The process number of a sleeping job, once it has started."""
        file = self.folder / "started"
        return int(until(lambda: file.exists() and file.read_text().strip()))

    def end(self) -> None:
        self.snakemake.kill()
        self.snakemake.wait()


def until(condition):
    """Waits until a condition is true and returns its value."""
    end = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def server_of(fork: int) -> int:
    """The parent of a fork."""
    parent = int(Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"plumbline.forkserver.server" in Path(f"/proc/{parent}/cmdline").read_bytes()
    return parent


def gone(process: int) -> bool:
    """Whether a process has ended, even if its parent has not asked for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server needs Linux")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run"))
    yield run
    run.end()


@pytest.fixture
def run(shared):
    """The run, whose server is shared by all tests that leave it alive."""
    for name in ("started", "parent", "random"):
        (shared.folder / name).unlink(missing_ok=True)
    return shared


@pytest.fixture
def alone(tmp_path):
    """A run with a server of its own."""
    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run")
    yield run
    run.end()


def test_a_fork_writes_what_a_new_process_writes(run):
    run.finish(GAUSSIAN, "fork.zarr")
    run.finish(GAUSSIAN, "new.zarr", PLUMBLINE_FORK_SERVER="off")
    fork, new = (load_store(run.folder / name) for name in ("fork.zarr", "new.zarr"))
    assert fork.identical(new.assign_attrs({k: v for k, v in fork.attrs.items() if is_provenance(k)}))
    changing = ("created", "wall_time_seconds")
    assert {k: v for k, v in fork.attrs.items() if k not in changing} == {
        k: v for k, v in new.attrs.items() if k not in changing
    }


def test_a_fork_has_the_state_of_a_new_process(run):
    fork = run.finish(run.probe(), TMPDIR="/elsewhere")
    server = run.parent()
    new = run.finish(run.probe(), TMPDIR="/elsewhere", PLUMBLINE_FORK_SERVER="off")
    assert server not in (os.getpid(), run.parent()) and run.parent() == os.getpid()
    fork, new = json.loads(fork), json.loads(new)
    set_by_torch = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR"}
    assert set(fork.pop("environment")) ^ set(new.pop("environment")) <= set_by_torch
    assert fork == new


def test_nothing_passes_from_one_job_to_the_next(run):
    first = json.loads(run.finish(run.probe(number=1)))
    second = json.loads(run.finish(run.probe(number=2)))
    assert (first["number"], second["number"]) == (1, 2)
    assert len(second["modules"]) == 1 and first["modules"] != second["modules"]
    draws = np.loadtxt(run.folder / "random")
    assert (draws[0] != draws[1]).all()  # of random, NumPy and torch, without a seed


def test_errors_and_deaths_reach_the_client(run):
    job = run.start({"kind": "nothing"})
    assert "unknown kind 'nothing'" in job.communicate(timeout=300)[1] and job.returncode == 1
    job = run.start(run.probe("die"))
    job.communicate(timeout=300)
    assert job.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -2), (signal.SIGKILL, -9)]
)
def test_a_signal_to_the_client_ends_the_fork(run, number, status):
    """A job answers SIGTERM with status 143 itself (see `plumbline.interruption`)."""
    job = run.start(run.probe("sleep"))
    fork = run.running()
    job.send_signal(number)
    job.communicate(timeout=300)
    assert job.returncode == status
    until(lambda: gone(fork))


def test_a_stopped_client_stops_its_fork(run):
    job = run.start(run.probe("sleep"))
    state = Path(f"/proc/{run.running()}/stat")
    job.send_signal(signal.SIGTSTP)
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    job.send_signal(signal.SIGCONT)
    until(lambda: state.read_text().rpartition(")")[2].split()[0] != "T")
    with (run.folder / "started").open("a") as file:
        print("go on", file=file)
    job.communicate(timeout=300)
    assert job.returncode == 0


def test_a_job_in_other_circumstances_starts_by_itself(run):
    run.finish(run.probe())
    server = run.parent()
    run.finish(run.probe(), SOME_VARIABLE="1")
    assert run.parent() == os.getpid()
    run.finish(run.probe(), OMP_NUM_THREADS="2")
    assert run.parent() == os.getpid()
    run.finish(run.probe())
    assert run.parent() == server


def test_forks_end_with_snakemake(alone):
    job = alone.start(alone.probe("sleep"))
    fork = alone.running()
    server = server_of(fork)
    alone.end()
    job.communicate(timeout=300)
    assert job.returncode == -signal.SIGKILL
    until(lambda: gone(fork) and gone(server))


def test_a_job_starts_again_if_the_server_is_killed(alone):
    job = alone.start(alone.probe("sleep"))
    fork = alone.running()
    os.kill(server_of(fork), signal.SIGKILL)
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    first, second = map(int, (alone.folder / "started").read_text().split())
    assert first == fork and second == job.pid and gone(fork)


def test_a_changed_library_is_imported_anew(alone):
    alone.finish(alone.probe())
    assert alone.parent() != os.getpid()
    os.utime(alone.library / "plumbline" / "spec.py")
    job = alone.start(alone.probe())
    assert "the library or an installed package has changed" in job.communicate(timeout=300)[1]
    assert alone.parent() == os.getpid()
