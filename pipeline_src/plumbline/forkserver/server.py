"""The fork server: it imports the library once, and forks a child for each command that a client sends.

It has no threads, so that a fork has all that the server has. It computes nothing, opens no file of a user
and imports no module of a user, so that nothing passes from one job to the next. Once a file of the library
or the set of installed packages has changed, it refuses all further commands, and their clients run them.

    python -m plumbline.forkserver.server LISTENER SNAKEMAKE     # started by client.py
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from functools import partial

from plumbline import cli
from plumbline.forkserver import client, fork
from plumbline.forkserver.fork import Request
from plumbline.forkserver.preload import preload, state_of_code, unfit

IDLE = 60.0
"""Seconds without a job after which the server ends. The next client starts another one."""
PATIENCE = 10.0
"""Seconds that a client may take to send its command."""


@dataclass(frozen=True)
class Job:
    """A running fork: its process number and file descriptor, and the connection to its client."""

    process: int
    descriptor: int
    connection: socket.socket

    def signal(self, number: int) -> None:
        """Sends a signal to the fork and to the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, number)

    def reap(self) -> None:
        """Waits for the end of the fork and tells the client how it ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        tell(self.connection, f"exit {status}" if status >= 0 else f"signal {-status}")
        self.connection.close()
        os.close(self.descriptor)


class Server:
    """The server of one Snakemake process.

    Args:
        listener: the socket to which clients connect.
        snakemake: process number of Snakemake.
    """

    def __init__(self, listener: socket.socket, snakemake: int) -> None:
        self.listener = listener
        self.snakemake = os.pidfd_open(snakemake)
        self.circumstances = client.circumstances()
        before = dict(os.environb)
        preload()
        self.set_by_imports = {
            name: value for name, value in os.environb.items() if before.get(name) != value
        }
        self.code, self.unfit = state_of_code(), unfit()
        self.jobs: list[Job] = []
        self.told: set[str] = set()
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Serves clients until Snakemake has ended, or there has been no job for a while."""
        self.selector.register(self.snakemake, selectors.EVENT_READ, self._end)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        while ready := self.selector.select(None if self.jobs else IDLE):
            for key, _ in ready:
                # An earlier event may have ended the job, and a later connection may have taken its number.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def _end(self) -> None:
        """Snakemake has ended: kills all forks and ends the server."""
        for job in self.jobs:
            job.signal(signal.SIGKILL)
        for job in self.jobs:
            job.reap()
        cli.leave(0)

    def _accept(self) -> None:
        """Takes a client's command, and forks a child for it or refuses it."""
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        try:
            request = Request.receive(connection)
        except (OSError, ValueError):
            connection.close()
            return
        if reason := self._reason_to_refuse(request):
            tell(connection, "refused" if reason in self.told else f"refused {reason}")
            self.told.add(reason)
            connection.close()
        else:
            self._fork(request, connection)
        for stream in request.streams:
            os.close(stream)

    def _reason_to_refuse(self, request: Request) -> str:
        """Why a command must not run in a fork; empty if it can."""
        own, other = self.circumstances, request.circumstances
        differing = sorted(name for name in own | other if own.get(name) != other.get(name))
        if differing:
            return f"it has another {', '.join(differing)} than the fork server"
        if self.code != state_of_code():
            return "the library or an installed package has changed since the run began"
        return self.unfit

    def _fork(self, request: Request, connection: socket.socket) -> None:
        server = os.getpid()
        process = os.fork()
        if process == 0:
            # A connection that a fork holds open would not end with the server or its client.
            for key in list(self.selector.get_map().values()):
                os.close(key.fd)
            self.selector.close()
            connection.close()
            fork.run(request, self.set_by_imports, server)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(process, process)  # the fork does so as well; whichever is first
        job = Job(process, os.pidfd_open(process), connection)
        self.jobs.append(job)
        tell(connection, f"started {process}")
        self.selector.register(job.descriptor, selectors.EVENT_READ, partial(self._ended, job))
        self.selector.register(connection, selectors.EVENT_READ, partial(self._signalled, job))

    def _ended(self, job: Job) -> None:
        """A fork has ended."""
        self.jobs.remove(job)
        self.selector.unregister(job.descriptor)
        with contextlib.suppress(KeyError, ValueError):  # if the client has ended before
            self.selector.unregister(job.connection)
        job.reap()

    def _signalled(self, job: Job) -> None:
        """A client passes on signals, one a byte, or has ended: then its fork is killed."""
        try:
            numbers = job.connection.recv(64)
        except OSError:
            numbers = b""
        for number in numbers:
            job.signal(number)
        if not numbers:
            self.selector.unregister(job.connection)
            job.signal(signal.SIGKILL)


def tell(connection: socket.socket, line: str) -> None:
    """Sends a line to a client, which may have ended."""
    with contextlib.suppress(OSError):
        connection.sendall(f"{line}\n".encode())


if __name__ == "__main__":
    try:
        Server(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).serve()
    except BaseException:
        traceback.print_exc()
    cli.leave(0)
