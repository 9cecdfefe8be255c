"""What a rank measures about itself."""

from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.usage_samples import samples_of_ranks
from hpc_dl.training.job_cgroup import job_memory_bytes
from hpc_dl.training.resource_sampler import ResourceSampler

STEP = "job_12/step_0/user/task_0"


def test_last_sample_is_taken_at_the_end(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    waited = iter([0.0, 1e9])
    sampler = ResourceSampler(run, 3, 0, lambda: next(waited))
    busy = sum(number * number for number in range(300_000))
    sampler.stop()
    ((rank, (sample,)),) = samples_of_ranks(run.usage).items()
    assert rank == 3 and busy
    assert sample.rss_gib is not None and 0.01 < sample.rss_gib < 100
    assert sample.cpus is not None and sample.cpus > 0
    assert sample.data == 1.0, "a share"


@pytest.mark.parametrize(
    ("cgroup", "folder", "stat", "expected"),
    [
        (f"0::/system.slice/slurmstepd.scope/{STEP}", "system.slice/slurmstepd.scope/job_12",
         "anon 3000\nfile 900000\nshmem 200\nkernel_stack 10\nslab_unreclaimable 5\n", 3215),
        (f"4:memory:/slurm/uid_7/{STEP}\n0::/", "memory/slurm/uid_7/job_12",
         "cache 900000\ntotal_cache 900000\ntotal_rss 4000\ntotal_shmem 100\n", 4100),
        ("4:memory:/user.slice\n0::/user.slice/session", "user.slice", "anon 3000\n", None),
        (f"0::/slurm/{STEP}", "elsewhere", "anon 3000\n", None),
        (f"0::/slurm/{STEP}", "slurm/job_12", "damaged\n", None),
    ],
    ids=["version 2", "version 1", "no job", "not mounted", "damaged"],
)  # fmt: skip
def test_memory_of_a_job_is_that_of_its_cgroup(
    tmp_path: Path, cgroup: str, folder: str, stat: str, expected: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{cgroup}\n")
    (tmp_path / "sys/fs/cgroup" / folder).mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup" / folder / "memory.stat").write_text(stat)
    assert job_memory_bytes(tmp_path) == expected
