"""Samples of what a rank used: bounded on disk, and readable after a kill."""

from pathlib import Path

import pytest

from hpc_dl.runs.usage_samples import MOST_SAMPLES, Sample, SampleFile, merged, read_samples, samples_of_ranks


def test_samples_are_kept_across_attempts(tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    SampleFile(folder, 1).append(Sample(10.0, 10.0, rss_gib=1.5))
    with (folder / "rank-1.jsonl").open("a") as file:
        file.write('{"time": 12')  # killed in the middle of a line
    SampleFile(folder, 1).append(Sample(20.0, 10.0, rss_gib=1.25, gpu=0.5))
    assert samples_of_ranks(folder) == {1: [Sample(10.0, 10.0, rss_gib=1.5), Sample(20.0, 10.0, rss_gib=1.25, gpu=0.5)]}


def test_neighbors_are_merged_before_there_are_too_many(tmp_path: Path) -> None:
    file = SampleFile(tmp_path, 0)
    for number in range(3 * MOST_SAMPLES):
        file.append(Sample(10.0 * (number + 1), 10.0, rss_gib=float(number == 4321), cpus=number % 2))
    samples = read_samples(tmp_path / "rank-0.jsonl")
    assert MOST_SAMPLES / 4 < len(samples) < MOST_SAMPLES
    assert sum(one.seconds for one in samples) == 30.0 * MOST_SAMPLES
    assert max(one.rss_gib or 0 for one in samples) == 1.0
    mean = sum((one.cpus or 0) * one.seconds for one in samples) / (30.0 * MOST_SAMPLES)
    assert mean == pytest.approx(0.5)
    assert SampleFile(tmp_path, 0)._samples == samples


def test_merging_weighs_by_time_and_skips_what_is_unknown() -> None:
    first, second, last = Sample(10, 10, cpus=1, watts=100), Sample(40, 30, cpus=3), Sample(50, 10, gpu_gib=2)
    assert merged([first, second, last]) == [Sample(40, 40, cpus=2.5, watts=100), last]


@pytest.mark.parametrize("damage", ["[]", "{}", '{"time": "x", "seconds": 1}', '{"time": NaN, "seconds": 1}', "\0\0"])
def test_damaged_lines_are_skipped(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rank-0.jsonl"
    path.write_text(f'{damage}\n{{"time": 1, "seconds": 2, "new_key": "x"}}\n')
    assert read_samples(path) == [Sample(1.0, 2.0)]
