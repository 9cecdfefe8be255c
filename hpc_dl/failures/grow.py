"""One automatic resume with more memory, after a job ran out of main memory.

``python -m hpc_dl.failures.grow RUN`` is the last thing that a batch script does after its ranks
have failed, with ``resources.on_oom: grow``. It runs outside of srun, where the memory of the ranks
is free again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hpc_dl.errors import HpcDlError
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rules.host_memory import HostMemory, more_memory
from hpc_dl.failures.verdict import judge
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder

_COMMAND = "resources.on_oom=grow"  # in the history of attempts, in the place of a user's command


def grown_memory(run: RunFolder) -> str:
    """Return the override that requests more memory; "" if that is not what the run needs.

    Args:
        run: a run whose ranks have ended in this job.
    """
    for event in reversed(attempts.history(run)):
        if event["event"] == "resumed":
            if event.get("command") == [_COMMAND]:
                return ""  # once, until a user resumes the run
            break
    evidence = Evidence.with_accounting(run)
    if evidence.cancelled_by or judge(evidence).rule != HostMemory.__module__.rpartition(".")[2]:
        return ""
    return next(iter(more_memory(evidence, "").overrides), "")


def resume_with(run: RunFolder, override: str) -> str:
    """Submit the run again, from its newest checkpoint; return the name of the job.

    Args:
        run: the run.
        override: ``resources.memory=SIZE``.

    Raises:
        HpcDlError: the request exceeds a limit of the site, or Slurm refuses it.
    """
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.resume import apply_changes, prepare_again, submit_again

    profile = sites.load(str(run.site))
    experiment = apply_changes(run, [override])
    profile.check(experiment)
    prepare_again(run, experiment, {"state": "failed"}, update_code=False, command=[_COMMAND], say=print)
    return str(submit_again(run, experiment, profile).get("job_id", ""))


def main() -> None:
    """Resume the run whose folder is the argument, if it ran out of memory for the first time."""
    run = RunFolder(Path(sys.argv[1]))
    try:
        if override := grown_memory(run):
            print(f"Out of memory: resumed with {override} as job {resume_with(run, override)}", flush=True)
    except (HpcDlError, OSError) as error:
        print(f"Out of memory, but not resumed with more: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
