"""A fork of the server: it takes over what belongs to the client's process, and runs the command."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import socket
import sys
import tempfile
import traceback
from dataclasses import dataclass
from typing import NoReturn

from plumbline import cli
from plumbline.forkserver import client

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
"""Options of prctl: the signal when the parent ends, and the name of the process in lists of processes."""

libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Request:
    """A command as a client sent it.

    Attributes:
        circumstances: see `client.circumstances`.
        folder: the working directory.
        ignored: signals that the command ignores.
        arguments: the arguments of `plumbline`.
        environment: all environment variables.
        streams: standard input, output and error.
    """

    circumstances: dict[str, str]
    folder: bytes
    ignored: list[int]
    arguments: list[str]
    environment: dict[bytes, bytes]
    streams: list[int]

    @classmethod
    def receive(cls, connection: socket.socket) -> Request:
        """Reads what `client.send` sends.

        Raises:
            OSError: the connection has ended, or the client belongs to another user.
        """
        length, streams, _, _ = socket.recv_fds(connection, 8, 3)
        with connection.makefile("rb") as file:
            words = file.read(int.from_bytes(length, "big")).split(b"\0")
        if client.peer(connection)[1] != os.getuid() or len(streams) != 3:
            raise PermissionError("a client of another user")
        groups = []
        while words:
            count = 1 + int(words[0])
            groups.append(words[1:count])
            words = words[count:]
        circumstances, (folder,), ignored, arguments, environment = groups
        texts = [os.fsdecode(word) for word in circumstances]
        return cls(
            dict(zip(texts[::2], texts[1::2], strict=True)),
            folder,
            [int(number) for number in ignored],
            [os.fsdecode(word) for word in arguments],
            dict(zip(environment[::2], environment[1::2], strict=True)),
            list(streams),
        )


def run(request: Request, set_by_imports: dict[bytes, bytes], server: int) -> NoReturn:
    """Runs the command in this fork, and ends it as a new process would end.

    Args:
        request: the command.
        set_by_imports: environment variables that imports have set in the server.
        server: process number of the server.
    """
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:  # it ended before the line above
        os._exit(1)
    try:
        _take_over(request)
        os.environb.update(set_by_imports)
        status = _status_of(request.arguments)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        status = 1
    cli.leave(status)


def _status_of(arguments: list[str]) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1


def _take_over(request: Request) -> None:
    """Makes streams, folder, environment, signals and random states those of a new process."""
    import numpy as np
    import torch

    os.setpgid(0, 0)
    libc.prctl(PR_SET_NAME, f"plumbline {request.arguments[1:2]}"[:15].encode(), 0, 0, 0)
    for number in client.FORWARDED:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request.ignored else usual)
    for target, stream in enumerate(request.streams):
        os.dup2(stream, target)
        os.close(stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    os.chdir(request.folder)
    os.environb.clear()
    os.environb.update(request.environment)
    tempfile.tempdir = None
    # Without a seed, the generators of each new process have another state.
    np.random.seed()  # noqa: NPY002
    torch.default_generator.seed()
    sys.argv = [str(cli.__file__), *request.arguments]
    sys.modules["__main__"] = cli
