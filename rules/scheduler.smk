# Keeps Snakemake's process from using more and more of a core. With a limit of jobs a second, which has a default,
# it starts a timer after each pass of the scheduler while a job waits; each timer starts a pass, and so on. A
# timer is needed only while the limit is reached, and one is enough. docs/snakemake_timers.md reports the fault,
# and tests/workflow/test_scheduler.py fails as soon as a newer Snakemake has no need of this file.
import threading

import snakemake
from packaging.version import Version

# The versions that have the fault in this class, up to the newest one that was tried.
if Version("9.10") <= Version(snakemake.__version__) <= Version("9.27.1"):
    from snakemake.scheduling.job_scheduler import JobScheduler

    def start_timer_if_needed(self, delay):
        """Starts a pass of the scheduler after `delay` seconds, unless no pass is needed or one is due."""

        def start_pass():
            self.pass_is_due = False
            self._open_jobs.release()

        limit = self.job_rate_limiter
        if limit is not None and delay == limit.timespan:
            if limit.get_free_jobs() or getattr(self, "pass_is_due", False):
                return
            self.pass_is_due = True
        threading.Timer(delay, start_pass).start()

    JobScheduler._schedule_reevalutation = start_timer_if_needed
