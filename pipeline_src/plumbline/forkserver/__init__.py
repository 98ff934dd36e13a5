"""A process that has imported torch and the library, and forks a child for each job of a local run.

A job that starts by itself spends two to four seconds of CPU time on imports. A fork has them already.

- The Snakefile's main process stores its process number in the environment variable PLUMBLINE_FORK_SERVER.
- Rules call `client.py`, which needs nothing but the standard library and takes 20 milliseconds. The first
  client starts the server. A client sends its command, its environment and its standard streams, passes
  signals on, and exits with the status of the fork.
- Without the variable, or if it is `off`, and wherever a fork could differ from a new process, the client
  becomes that process: `python -m plumbline.cli` with the same arguments. See `client.circumstances`.
- If a client is killed, its fork is killed. If Snakemake ends, the server kills its forks and ends. If the
  server is killed, its forks are killed with it, and their clients run the commands themselves.

It needs Linux: file descriptors of processes, sockets without a file, and signals on the death of a parent.
"""
