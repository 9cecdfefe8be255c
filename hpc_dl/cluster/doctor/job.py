"""The short job of ``hpc-dl doctor --job``: submitted, waited for, judged, removed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_text
from hpc_dl.cluster import requeue, slurm, slurm_sentences
from hpc_dl.cluster.child_processes import run_together
from hpc_dl.cluster.doctor import job_checks
from hpc_dl.cluster.doctor.check import Finding, Situation
from hpc_dl.cluster.doctor.rank_process import report_file
from hpc_dl.cluster.follow import LogReader
from hpc_dl.cluster.job_environment import like_this_process, outside_of_jobs
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.local_ranks import local_rank_commands
from hpc_dl.cluster.status import log_of
from hpc_dl.cluster.submit import sbatch, uses_slurm
from hpc_dl.config import yaml
from hpc_dl.errors import ClusterError, HpcDlError
from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.batch_script import ScriptExecutor
    from hpc_dl.config.experiment import Experiment

_MINUTES = 10  # a short job waits less in the queue
_FOLDER = ".doctor"  # hidden, so that no command takes it for a run
_RANKS = "ranks"
_POLL_FILES_S, _POLL_SLURM_S = 0.3, 5.0
_LEAD_S = 30
_MOST_OUTPUT = 4096  # bytes of a log that are read


@dataclass
class JobReport:
    """What a job found out.

    Attributes:
        found: the findings of each check, by its name.
        summaries: what was measured, in a few words, by the name of the check.
    """

    found: dict[str, list[Finding]] = field(default_factory=dict)
    summaries: dict[str, str] = field(default_factory=dict)


def examine(situation: Situation, *, timeout_s: float, say: Callable[[str], None]) -> JobReport:
    """Run a job on the shape that the experiment requests, and judge what its ranks measured.

    Args:
        situation: what is examined, with an experiment.
        timeout_s: the longest time to wait for the job.
        say: prints one line for the user.

    Raises:
        HpcDlError: the job cannot be submitted.
        KeyboardInterrupt: passed on; the job is cancelled then.
    """
    experiment = _with_absolute_path(situation)
    run = RunFolder.create(situation.runs_dir, _FOLDER)
    keep = False
    try:
        write_text(run.config, yaml.dumps(experiment.to_dict()))
        snapshot.take(run)
        if uses_slurm(situation.site):
            ended = _on_slurm(run, experiment, situation, timeout_s, say)
        else:
            ended = _here(run, experiment, situation, say)
        reports = _reports(run, experiment)
        because = [text for text in (ended, _last_words(run, reports, experiment)) if text]
        report = judged(reports, experiment, "; ".join(because))
        keep = bool(report.found[_RANKS]) and run.path.is_dir()
        if keep:
            say(f"The output of the job is in {run.path}")
        return report
    finally:
        if not keep:
            shutil.rmtree(run.path, ignore_errors=True)


def judged(reports: list[dict[str, Any]], experiment: Experiment, ended: str = "") -> JobReport:
    """Judge what the ranks of a job have written.

    Args:
        reports: of all ranks that wrote one.
        experiment: the experiment.
        ended: why the job ended early, if that is known.
    """
    report = JobReport({_RANKS: list(_silent_ranks(reports, experiment, ended))})
    for name in job_checks.names() if reports else []:
        report.found[name], report.summaries[name] = job_checks.judge(name, reports, experiment)
    return report


def doctor_executor(run: RunFolder, experiment: Experiment, situation: Situation) -> ScriptExecutor:
    """Return the executor that submits the job or writes its script.

    The script is that of a training, without the requeue and with another command.

    Args:
        run: the folder of the job.
        experiment: the experiment.
        situation: with the site profile and the folder of data.
    """
    from hpc_dl.cluster.batch_script import RankCommand, executor

    site = situation.site.model_copy(update={"notify": None})
    slurm_executor = executor(run, experiment, site, situation.data_dir, _LEAD_S)
    parameters = slurm_executor.parameters
    parameters["setup"] = [line for line in parameters["setup"] if line not in requeue.setup_lines(run)]
    parameters["teardown"] = []
    # A rank that crashes must not end those that still measure.
    parameters["srun_args"] = [
        option.replace("--kill-on-bad-exit=1", "--kill-on-bad-exit=0") for option in parameters["srun_args"]
    ]
    slurm_executor.options = {**slurm_executor.options, "requeue": None, "no-requeue": ""}
    module = f"-u -m hpc_dl.cluster.doctor.rank_process {shlex.quote(str(run.path))}"
    slurm_executor.rank_command = RankCommand(module, shlex.quote(f"{run.submitit}/%j_%t_log.out"))
    return slurm_executor


def _with_absolute_path(situation: Situation) -> Experiment:
    """The experiment with the path of its data file, a short time limit, and a name of its own."""
    experiment = situation.experiment
    assert experiment is not None
    data, resources = experiment.data, experiment.resources
    if data.source is not None or data.file is not None:
        from hpc_dl.data.open_spec import data_path

        data = data.model_copy(update={"source": None, "file": str(data_path(data, situation.data_dir))})
    resources = resources.model_copy(update={"time": min(resources.minutes, _MINUTES)})
    return dataclasses.replace(experiment, data=data, resources=resources)


def _on_slurm(
    run: RunFolder, experiment: Experiment, situation: Situation, timeout_s: float, say: Callable[[str], None]
) -> str:
    job = sbatch(run, lambda: doctor_executor(run, experiment, situation), experiment, situation.site)
    say(f"Submitted {job.description}; Ctrl-C cancels it")
    try:
        return _wait(run, job, experiment, timeout_s, say)
    finally:
        # If Slurm does not respond, the short time limit ends the job.
        with contextlib.suppress(HpcDlError):
            slurm.cancel([job])


def _wait(run: RunFolder, job: JobId, experiment: Experiment, timeout_s: float, say: Callable[[str], None]) -> str:
    """Wait until all ranks are done; return why the job has ended if it has ended before."""
    deadline, next_query = time.monotonic() + timeout_s, 0.0
    said, ended = "", False
    while not _all_done(run, experiment):
        now = time.monotonic()
        if now > deadline:
            return f"the job was not done within {timeout_s / 60:g} min ({said or 'Slurm does not respond'})"
        if now >= next_query:
            next_query = now + _POLL_SLURM_S
            if (info := slurm.query_jobs([job]).get(job)) is not None:
                text = info.explanation or info.state.lower()
                if ended:  # only the second time: the last files may arrive after Slurm's answer
                    return text
                ended = info.kind == "ended"
                sentence = slurm_sentences.reason_for_waiting(info.reason) if info.waits else None
                if sentence is not None and sentence.starts == "never":
                    return text
                if text != said and not ended:
                    said = text
                    say(f"  [pending] {text}" if info.waits else f"  [running] {info.explanation}".rstrip())
        time.sleep(_POLL_FILES_S)
    return ""


def _here(run: RunFolder, experiment: Experiment, situation: Situation, say: Callable[[str], None]) -> str:
    """Run the ranks on this machine; return why they ended if one failed."""
    resources = experiment.resources
    if resources.nodes > 1:
        raise ClusterError.at(
            "resources.nodes", "several nodes need Slurm", value=resources.nodes, remedy="set resources.nodes=1"
        )
    say(f"Measuring with {resources.world_size} rank{'s' if resources.world_size > 1 else ''} on this machine …")
    environment = like_this_process(outside_of_jobs(os.environ)) | situation.site.environment
    argv = [sys.executable, "-m", "hpc_dl.cluster.doctor.rank_process", str(run.path)]
    failure = run_together(local_rank_commands(argv, resources.world_size, environment))
    if failure and failure.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    return f"rank {failure.index} {failure}" if failure else ""


def _reports(run: RunFolder, experiment: Experiment) -> list[dict[str, Any]]:
    found = (_report(report_file(run, rank)) for rank in range(experiment.resources.world_size))
    return [report for report in found if report]


def _report(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, DamagedFile):
        report = read_json(path)
        return report if isinstance(report, dict) else None
    return None


def _all_done(run: RunFolder, experiment: Experiment) -> bool:
    reports = _reports(run, experiment)
    return len(reports) == experiment.resources.world_size and all(report["done"] for report in reports)


def _last_words(run: RunFolder, reports: list[dict[str, Any]], experiment: Experiment) -> str:
    """The last line of the output of the first rank that is not done; "" if all are, or without."""
    done = {report["rank"] for report in reports if report["done"]}
    first = min({*range(experiment.resources.world_size)} - done, default=None)
    path = None if first is None else log_of(run, first)
    lines = [line.strip() for line in LogReader(path, _MOST_OUTPUT).remaining_lines() if line.strip()] if path else []
    return f"its output ends with {lines[-1]!r}" if lines else ""


def _silent_ranks(reports: list[dict[str, Any]], experiment: Experiment, ended: str) -> list[Finding]:
    """One finding for ranks that wrote nothing or did not end, with the check that they died in."""
    silent = sorted({*range(experiment.resources.world_size)} - {report["rank"] for report in reports})
    found = []
    why = "A training with this shape would fail in the same way"
    because = f": {ended}" if ended else ""
    if silent:
        who = f"rank{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))}"
        remedy = "read the output of the job, and check that all nodes see the folder of runs and the Python here"
        found.append(Finding(f"{who} measured nothing{because}", why, remedy))
    for report in reports:
        if not report["done"]:
            last = max(report["measured"], default="")
            what = f"rank {report['rank']} on {report['node']} ended during the check after {last or 'its start'}"
            found.append(Finding(what + because, why, "read its log in the folder of the job"))
    return found
