"""Runs a command of plumbline in a fork of the fork server, or in this process if there is none.

    python -IS client.py stage generate --spec ...

It imports as little as possible. Python's options -I and -S keep its own start short and do not apply to the
command that it runs.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import time

VARIABLE = "PLUMBLINE_FORK_SERVER"
"""The environment variable with the process number of Snakemake, or `off`."""
NO_THREAD_OF_ARROW = "JE_ARROW_MALLOC_CONF"
"""The variable that keeps Arrow's allocator from starting a thread, which a server must not have."""
VARYING = (
    "COLUMNS", "LC_CTYPE", "LINES", "OLDPWD", "PWD", "SHLVL", "TEMP", "TEMPDIR", "TMP", "TMPDIR", "_",
    NO_THREAD_OF_ARROW,
)  # fmt: skip
"""Environment variables that may differ between the server and a job: no import depends on them."""
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a client passes to its fork."""
ATTEMPTS = 200
"""Attempts to reach a server that another client is starting, 10 milliseconds apart."""


def main() -> None:
    """Runs the command and exits with its status."""
    snakemake = os.environ.get(VARIABLE, "")
    if sys.platform == "linux" and snakemake.isdigit() and os.environ.get("OMP_NUM_THREADS") == "1":
        try:
            run_in_fork(int(snakemake))
        except OSError:
            # There is no server to be had. If Snakemake has ended too, nobody waits for the job.
            if not os.path.exists(f"/proc/{snakemake}"):
                sys.exit(f"Snakemake, process {snakemake}, has ended.")
    os.execv(sys.executable, [sys.executable, "-m", "plumbline.cli", *sys.argv[1:]])


def run_in_fork(snakemake: int) -> None:
    """Runs the command in a fork and exits with its status. It returns if the server refuses the job.

    Raises:
        OSError: there is no server, or it has ended. A fork of it has ended, too.
    """
    connection = connected(snakemake)
    send(connection)
    answer = connection.makefile("rb", buffering=0)
    word, _, value = answer.readline().decode().partition(" ")
    if word != "started":
        if word == "refused":
            if value:
                print(
                    f"plumbline: this job starts in a process of its own: {value.strip()}.", file=sys.stderr
                )
            return
        raise ConnectionResetError("the server has ended")
    fork = os.pidfd_open(int(value))
    handlers = {number: signal.getsignal(number) for number in (*FORWARDED, signal.SIGTSTP, signal.SIGCONT)}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: pass_on(connection, number))
    word, _, value = answer.readline().decode().partition(" ")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if word == "exit":
        sys.exit(int(value))
    if word == "signal":
        die_of(int(value))
    select.select([fork], [], [])  # until the fork has ended with the server
    raise ConnectionResetError("the server has ended")


def connected(snakemake: int) -> socket.socket:
    """Connects to the server of a Snakemake process, and starts one if there is none."""
    address = address_of(snakemake)
    for _ in range(ATTEMPTS):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            connection.close()
        else:
            if peer(connection)[1] != os.getuid():
                raise PermissionError("the server belongs to another user")
            return connection
        if not start_server(address, snakemake):
            time.sleep(0.01)
    raise TimeoutError("the server does not listen")


def address_of(snakemake: int) -> str:
    """The address of the server of a Snakemake process: a name without a file, which ends with its socket.

    The start time of the process tells it from a later one with the same number.

    Raises:
        FileNotFoundError: the process has ended.
    """
    with open(f"/proc/{snakemake}/stat") as file:
        started = file.read().rpartition(")")[2].split()[19]
    return f"\0plumbline-{os.getuid()}-{snakemake}-{started}"


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process number and user number of the other end of a connection."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    process, user = (int.from_bytes(credentials[start : start + 4], sys.byteorder) for start in (0, 4))
    return process, user


def start_server(address: str, snakemake: int) -> bool:
    """Starts the server in a session of its own. Returns False if another client is starting it."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    listener.listen(socket.SOMAXCONN)
    if os.fork() == 0:
        os.setsid()
        leave_streams(snakemake)
        environment = os.environ | {NO_THREAD_OF_ARROW: "background_thread:false"}
        listener.set_inheritable(True)
        module = "plumbline.forkserver.server"
        words = [sys.executable, "-m", module, str(listener.fileno()), str(snakemake)]
        os.execve(sys.executable, words, environment)
    listener.close()
    return True


def leave_streams(snakemake: int) -> None:
    """Closes the streams of the job, whose readers wait for their end; errors go to those of Snakemake."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        errors = os.open(f"/proc/{snakemake}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    except OSError:
        errors = nothing
    for target, source in enumerate((nothing, nothing, errors)):
        os.dup2(source, target)


def send(connection: socket.socket) -> None:
    """Sends the standard streams, and the command with everything that belongs to it."""
    ignored = [str(int(number)) for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    groups: list[list[bytes]] = [
        [os.fsencode(word) for pair in circumstances().items() for word in pair],
        [os.fsencode(os.getcwd())],
        [os.fsencode(number) for number in ignored],
        [os.fsencode(word) for word in sys.argv[1:]],
        [word for pair in os.environb.items() for word in pair],
    ]
    message = b"\0".join(word for group in groups for word in (b"%d" % len(group), *group))
    socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(message)


def circumstances() -> dict[str, str]:
    """What a fork inherits from the server instead of the client. Jobs for which all agrees are forked."""
    kept = {name: value for name, value in os.environ.items() if name not in VARYING}
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        **{f"environment variable {name}": value for name, value in kept.items()},
        "Python": sys.executable,
        "resource limits": read("/proc/self/limits"),
        "control group": read("/proc/self/cgroup"),
        "root folder": os.readlink("/proc/self/root"),
        "mounts": os.readlink("/proc/self/ns/mnt"),
        "processors": str(sorted(os.sched_getaffinity(0))),
        "priority": str(os.nice(0)),
        "file mode mask": str(umask),
    }


def read(path: str) -> str:
    """The text of a file."""
    with open(path) as file:
        return file.read()


def pass_on(connection: socket.socket, number: int) -> None:
    """Sends a signal to the fork. A request to stop stops the fork and then this process."""
    stops = number == signal.SIGTSTP
    with contextlib.suppress(OSError):  # the server has ended, which the main program notices
        connection.sendall(bytes([signal.SIGSTOP if stops else number]))
    if stops:
        os.kill(os.getpid(), signal.SIGSTOP)


def die_of(number: int) -> None:
    """Ends this process as its fork has ended, by a signal."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
