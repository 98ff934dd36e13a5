"""The speed of a machine, and what the rules ask for: keys of config/config.yaml under `resources`."""

from __future__ import annotations

from plumbline.estimates import Work
from plumbline.spec import Spec, key


class MachineSpec(Spec):
    """How fast a core or a GPU computes. `benchmarks/estimate.py` fits these numbers to a machine."""

    overhead: float = key("s", ge=0, default=9e-6)
    """Time of a tensor operation apart from its arithmetic: calls, autograd, launching it."""
    throughput: float = key("FLOP/s", gt=0, default=8e10)
    """Floating-point operations a second of matrix products and convolutions in single precision."""
    bandwidth: float = key("bytes/s", gt=0, default=2.5e10)
    """Bytes a second that operations read and write."""

    def seconds(self, work: Work) -> float:
        """The time that a computation takes (s)."""
        return (
            self.overhead * work.operations
            + work.flops / self.throughput
            + work.bytes / self.bandwidth
            + work.seconds
        )


class ResourcesSpec(Spec):
    """What the rules ask for, from the estimates of the jobs."""

    estimate: bool = True
    """Whether a run estimates its studies, once per version of a study: on a cluster or under a limit of
    `--resources` before its first job, otherwise beside its first jobs. At scale `smoke`, and before an
    estimate is known, the rules ask for fixed amounts."""
    margin: float = key(ge=1, default=2.0)
    """Memory and time asked for over memory and time estimated. A job that is repeated (`--retries`) asks for
    as much again."""
    start: float = key("s", ge=0, default=3.5)
    """CPU time of a job before its work: starting Python, importing, reading the study."""
    fork: float = key("s", ge=0, default=0.1)
    """The same where jobs are forks of the fork server, for the sum that `plumbline run` prints."""
    memory: float = key("MB", ge=0, default=400.0)
    """Memory of a job without data and models: Python and its libraries."""
    core: MachineSpec = MachineSpec()
    """Speed of one CPU core."""
    gpu: MachineSpec = MachineSpec(overhead=1e-5, throughput=2e13, bandwidth=1e12)
    """Speed of one GPU. The defaults are assumptions and were not measured."""
