"""A private SLURM on this machine, with several nodes and nothing shared with an installed cluster.

    python tests/cluster/private_slurm.py /tmp/slurm      # runs until it is interrupted, says how to use it

It needs root, util-linux, and Debian's packages `slurm-wlm` and `munge`; their daemons are started here, by
hand, and need not run as services. Each node is a slurmd in namespaces of its own for processes and host
names. `lose` kills a node with everything that runs on it, as a power failure would.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "setpriv")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
NODES = ("node1", "node2")


def lacking() -> str:
    """Why a private SLURM cannot run here; empty if it can."""
    if os.name != "posix" or not sys.platform.startswith("linux"):
        return "a private SLURM needs Linux"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a private SLURM needs root, for namespaces and job steps"
    tried = subprocess.run(
        ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "hostname", "tried"], capture_output=True
    )
    return f"unshare does not work here: {tried.stderr.decode().strip()}" if tried.returncode else ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class PrivateSlurm:
    """A running SLURM. Use it as a context manager.

    Args:
        folder: a new folder for its configuration, logs and state.
        cpus: the number of jobs of one core that a node runs at a time. More than the machine has is allowed.

    Jobs go to the partition `main`. Those in `urgent` preempt them: SLURM kills and requeues jobs of `main`.
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder.resolve()
        # The path of a Unix socket has at most 108 characters, and test folders have long names.
        self.sockets = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.cpus = cpus
        self.port = _free_ports(2 + len(NODES))
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> PrivateSlurm:
        for name in ("state", "log", "bin"):
            (self.folder / name).mkdir(parents=True)
        for name in ("spool", "run"):
            (self.sockets / name).mkdir()
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def path(self) -> str:
        """The folder to put first on PATH."""
        return str(self.folder / "bin")

    def _start(self) -> None:
        secret = self.sockets / "run" / "munge.key"
        secret.write_bytes(secrets.token_bytes(1024))
        secret.chmod(0o400)
        self._daemon(
            "munged", "munged", "--foreground", "--force", f"--key-file={secret}",
            f"--socket={self.sockets}/run/munge.socket", f"--pid-file={self.sockets}/run/munged.pid",
            f"--seed-file={self.sockets}/run/munge.seed",
        )  # fmt: skip
        _wait(lambda: (self.sockets / "run" / "munge.socket").exists(), 20, "munged did not start")
        (self.folder / "slurm.conf").write_text(self._configuration())
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        names = " ".join(NODES)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost {names} {socket.gethostname()}\n")
        for name in CLIENTS:
            # The plugin's inner srun loses SLURM_CONF, so each client names the configuration itself.
            # Accounting is off, as on many small clusters: sacct, sacctmgr and sshare fail.
            wrapper = self.folder / "bin" / name
            wrapper.write_text(
                f"#!/bin/sh\necho {name} >> {self.folder}/calls\n"
                f'SLURM_CONF={self.folder}/slurm.conf exec {shutil.which(name, path=_path())} "$@"\n'
            )
            wrapper.chmod(0o755)
        self._daemon("slurmctld", "slurmctld", "-D", "-c", "-f", f"{self.folder}/slurm.conf")
        for node in NODES:
            self.start(node)
        self.wait_for_nodes()

    def _configuration(self) -> str:
        folder, ports = self.folder, iter(self.port)
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20) - 512
        lines = [
            "ClusterName=private",
            f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
            f"SlurmctldPort={next(ports)}",
            f"SlurmdPort={next(ports)}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.sockets}/run/munge.socket",
            "CredType=cred/munge",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={self.sockets}/spool/%n",
            f"SlurmctldPidFile={self.sockets}/run/slurmctld.pid",
            f"SlurmdPidFile={self.sockets}/run/slurmd-%n.pid",
            f"SlurmctldLogFile={folder}/log/slurmctld.log",
            f"SlurmdLogFile={folder}/log/slurmd-%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "MpiDefault=none",
            "SwitchType=switch/none",
            # Memory is no limit: all nodes are this machine.
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SlurmdParameters=config_overrides",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "JobRequeue=1",
            "KillWait=30",
            "OverTimeLimit=0",
            "SlurmdTimeout=10",
            "InactiveLimit=0",
            "ReturnToService=2",
            "MaxArraySize=2001",
            "MailProg=/bin/true",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "JobCompType=jobcomp/none",
            "MinJobAge=600",
        ]
        for node, port in zip(NODES, ports, strict=True):
            lines.append(
                f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} "
                f"RealMemory={memory} State=UNKNOWN"
            )
        nodes = ",".join(NODES)
        lines += [
            f"PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
            f"PartitionName=urgent Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF",
        ]
        return "\n".join(lines) + "\n"

    def _daemon(self, name: str, *command: str) -> None:
        output = (self.folder / "log" / f"{name}.out").open("ab")
        variables = {"PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf"), "HOME": "/root"}
        # The daemons die with the thread that has started them.
        self.daemons[name] = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", *command),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables, start_new_session=True,
        )  # fmt: skip

    def start(self, node: str) -> None:
        """Boots a node."""
        self._daemon(
            node, "unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
            f"hostname {node} && mount --bind {self.folder}/hosts /etc/hosts && "
            f"{{ slurmd -D -c -N {node} -f {self.folder}/slurm.conf & wait; }}",
        )  # fmt: skip

    def lose(self, node: str) -> None:
        """Kills a node and everything that runs on it."""
        self.daemons[node].kill()
        self.daemons.pop(node).wait()

    def stop(self) -> None:
        """Stops all daemons, and all jobs with their nodes."""
        for daemon in reversed(self.daemons.values()):
            daemon.kill()
            daemon.wait()
        self.daemons.clear()

    def wait_for_nodes(self) -> None:
        """Waits until all nodes take jobs.

        Raises:
            TimeoutError: they do not within a minute.
        """
        _wait(
            lambda: self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).split()
            == ["idle"] * len(NODES),
            60,
            lambda: "SLURM did not come up:\n" + "".join(
                f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}\n"
                for path in sorted((self.folder / "log").iterdir())
            ),
        )  # fmt: skip

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a client of SLURM and returns its output."""
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]], capture_output=True, text=True, timeout=120
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def calls(self, client: str) -> int:
        """How often a client was called, by anything that has `path` on its PATH."""
        return (self.folder / "calls").read_text().split().count(client)


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(done: Callable[[], bool], seconds: float, message: str | Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(message if isinstance(message, str) else message())
        time.sleep(0.2)


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with PrivateSlurm(Path(sys.argv[1])) as slurm:
        print(f"SLURM is up, with {', '.join(NODES)}. In another shell:", flush=True)
        print(f"  export PATH={slurm.path}:$PATH", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
