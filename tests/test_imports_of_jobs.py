"""Which libraries a job imports at its start. What few jobs use is imported where it is used."""

import os
import subprocess
import sys

import pytest

SLOW = (
    "cantera", "h5py", "jinja2", "lightning_fabric", "matplotlib", "ot", "pooch", "scipy.stats", "sklearn",
    "snakemake", "tensorboard", "torch", "torch._dynamo", "torch_geometric",
)  # fmt: skip
"""Libraries that take more than a tenth of a second to import, or that only some studies need."""
ALLOWED = {
    "plumbline.cli": set(),
    "plumbline.stages.generate": set(),
    "plumbline.stages.rehearse": {"torch"},
    "plumbline.stages.train": {"torch"},
    "plumbline.stages.tune": {"torch"},
    "plumbline.stages.sample": {"torch"},
    "plumbline.stages.evaluate": {"torch"},
    "plumbline.stages.compare": {"torch"},
    "plumbline.reporting.page": {"jinja2", "matplotlib"},
    # The fork server imports for many jobs what some of them use; see `plumbline.forkserver.preload`.
    "plumbline.forkserver.preload; plumbline.forkserver.preload.preload()": {
        "jinja2", "torch", "torch._dynamo", "sklearn", "scipy.stats",
    },
    "plumbline.forkserver.client": set(),
}  # fmt: skip


@pytest.mark.parametrize("module", ALLOWED)
def test_a_job_imports_no_more_than_it_needs(module):
    code = f"import sys, {module}; print(*[name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == ALLOWED[module]


def test_the_fork_server_can_be_forked():
    """It has a single thread and has not touched a GPU."""
    code = "from plumbline.forkserver.preload import preload, unfit; preload(); print([unfit()])"
    single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    environment = os.environ | single | {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['']"
