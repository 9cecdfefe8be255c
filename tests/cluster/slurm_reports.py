"""A run with a Slurm job, and Slurm's reports about it."""

import pytest

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId

JOB = {"launcher": "slurm", "job_id": "7", "host": "login", "submitted": "2026-01-01T00:00:00+0000"}


def slurm_reports(monkeypatch: pytest.MonkeyPatch, *info: slurm.JobInfo) -> None:
    """Replace the queries to Slurm: they report this about job 7; without ``info`` no response."""
    monkeypatch.setattr(slurm, "query_jobs", lambda jobs: {JobId("7"): info[0]} if info and list(jobs) else {})
