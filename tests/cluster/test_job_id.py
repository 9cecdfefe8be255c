"""The identity of a Slurm job: its number, the task of an array, its cluster."""

import subprocess

import pytest

from hpc_dl.cluster.job_id import SHELL_ASSIGNMENT, JobId

# Of jobs on Slurm 22.05.8: `sbatch --array=0-1` started 11_1 as job 11 and 11_0 as job 12.
_ENVIRONMENTS = [
    ({"SLURM_JOB_ID": "7"}, "7"),
    ({"SLURM_JOB_ID": "11", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "1"}, "11_1"),
    ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "0"}, "11_0"),
]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        # Slurm 22.05.8, with and without --clusters and --parsable
        ("Submitted batch job 4242\n", JobId("4242")),
        ("Submitted batch job 4242 on cluster alpha\n", JobId("4242", cluster="alpha")),
        ("4242\n", JobId("4242")),
        ("4242;alpha\n", JobId("4242", cluster="alpha")),
        # a site's wrapper of sbatch
        ("This is your job 7 of 50\nSubmitted batch job 4242\n", JobId("4242")),
        ("Project 12345: 99 core hours left\n\n4242;alpha\n", JobId("4242", cluster="alpha")),
        ("2026\nSubmitted batch job 4242\nGood luck, user 1000!\n", JobId("4242")),
        ("\x1b[32mSubmitted batch job 4242\x1b[0m\n", JobId("4242")),
        ("Submitted batch job 4242. Estimated start: 10:00\n", JobId("4242")),
        ("submitted  batch job 4242 on cluster alpha-1 (federation)\r\n", JobId("4242", cluster="alpha-1")),
        ("job 7 accepted by the filter\n", None),
        ("", None),
    ],
)
def test_answer_of_sbatch_is_read(output: str, expected: JobId | None) -> None:
    assert JobId.from_sbatch(output) == expected


@pytest.mark.parametrize(("environment", "name"), _ENVIRONMENTS)
def test_job_names_itself_alike_in_python_and_in_the_batch_script(environment: dict[str, str], name: str) -> None:
    assert str(JobId.from_environment(environment)) == name
    shell = ["bash", "-uc" if "SLURM_ARRAY_JOB_ID" in environment else "-c", f'{SHELL_ASSIGNMENT}; echo "$job"']
    assert subprocess.run(shell, env=environment, capture_output=True, text=True).stdout.strip() == name


@pytest.mark.parametrize("job", [JobId("7"), JobId("11", "0"), JobId("7", cluster="alpha"), JobId("11", "3", "alpha")])
def test_job_is_the_same_after_writing_and_reading(job: JobId) -> None:
    assert JobId.of({"launcher": "slurm", **job.facts()}) == job


def test_local_process_has_no_job() -> None:
    assert JobId.of({"launcher": "local", "pid": 3}) is None
    assert JobId.of({"job_id": "; rm -rf /"}) is None
