"""Snakemake, with the same command line, that notices the end of a SLURM job within two seconds.

The plugin asks SLURM more and more rarely while nothing ends: after 2, 12, 22 seconds, up to three minutes.
No option changes that. A test that holds a job for a minute would wait for most of another one.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep(self: RemoteExecutor) -> None:
    await asyncio.sleep(2)


RemoteExecutor.sleep = sleep

if __name__ == "__main__":
    sys.exit(main())
