"""The command ``hpc-dl why`` on run folders, without Slurm and without torch."""

import json
import os
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.accounting import Accounting
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.explanation import explain, known_verdict, quick_verdict_of
from hpc_dl.failures.verdict import judge
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cluster.test_light_imports import outputs


def failed(runs: Path, log: str, reason: str = "RuntimeError: deliberate") -> RunFolder:
    run = RunFolder.create(runs, "tiny")
    run.config.write_text("seed: 0\ndata: {batch_size: 8}\n")
    run.log(1).write_text(log)
    write_state(run, "failed", reason=reason, rank=1)
    return run


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HPC_DL_RUNS", str(tmp_path))


def test_command_shows_cause_evidence_and_command(tmp_path: Path) -> None:
    run = failed(tmp_path, "torch.OutOfMemoryError: CUDA out of memory\x1b[2J\n")
    text, document, table = outputs([(["why", "latest"], 0), (["why", run.name, "--json"], 0), (["status"], 0)])
    assert f"{run.name} (failed, rank 1): the GPU's memory is full" in text
    assert r"logs/rank-1.log:1: torch.OutOfMemoryError: CUDA out of memory\x1b[2J" in text
    assert f"hpc-dl submit {run.config} data.batch_size=4 trainer.accumulate_grad_batches=2" in text
    found = json.loads(document)
    assert (found["rule"], found["resume"], found["rank"]) == ("cuda_memory", False, 1)
    assert "RuntimeError: deliberate; why: the GPU's memory is full" in table


def test_verdict_is_kept_until_the_run_goes_on(tmp_path: Path) -> None:
    run = failed(tmp_path, "CUDA out of memory\n")
    assert known_verdict(run) is None
    found = quick_verdict_of(run)
    assert found == known_verdict(run) is not None
    run.log(1).unlink()
    assert quick_verdict_of(run) == found, "the log is not read again"
    write_state(run, "failed", reason="another attempt", rank=1)
    assert known_verdict(run) is None
    run.verdict.write_text('{"version": 3}')
    assert quick_verdict_of(run) is None


def test_unknown_shows_the_last_lines_of_the_first_failing_rank(tmp_path: Path) -> None:
    run = failed(tmp_path, "\n".join(f"line {number}" for number in range(20)))
    found = explain(run)
    assert (found["rule"], found["resume"], found["command"]) == ("unknown", None, "")
    assert [quote["text"] for quote in found["evidence"]][-1] == "line 19"
    assert not run.verdict.exists(), "a later version may know more"


def test_only_the_ends_of_the_last_attempt_are_read(tmp_path: Path) -> None:
    earlier = "=== 2026-11-02T09:00:01+0000 rank 1 on n1, process 8\nCUDA out of memory\n"
    assert quick_verdict_of(failed(tmp_path, f"{earlier}{earlier[:53]}\nfine\n")) is None
    assert quick_verdict_of(failed(tmp_path, "CUDA out of memory\n09:00:00 epoch 2\n")) is None
    run = failed(tmp_path, "")
    with run.log(1).open("wb") as log:
        log.truncate(3 << 30)
        log.seek(0, os.SEEK_END)
        log.write(b"\nCUDA out of memory\n")
    found = quick_verdict_of(run)
    assert found and found.evidence[0].line is None


def test_other_states(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "tiny")
    assert "never launched" in explain(run)["cause"]
    write_state(run, "finished")
    assert "nothing is wrong" in explain(run)["cause"]
    os.mkfifo(run.log(0))
    write_state(run, "failed", reason="x", rank=0)
    assert explain(run)["rule"] == "unknown"


def test_members_of_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "tiny-sweep"
    sweep.mkdir()
    (sweep / "sweep.yaml").write_text("{}\n")
    one, other = failed(sweep, "CUDA out of memory\n"), failed(sweep, "")
    write_state(other, "finished")
    members = {run.name: {"signature": "1a2b3c", "point": {}, "seed": 0} for run in (one, other)}
    (sweep / "members.json").write_text(json.dumps(members))
    (text,) = outputs([(["why", "tiny-sweep"], 0)])
    assert f"{one.name} (failed): the GPU's memory is full" in text and other.name not in text


def test_memory_that_is_proposed(tmp_path: Path) -> None:
    run = failed(tmp_path, "")
    run.config.write_text("seed: 0\nresources: {nodes: 2, memory: 8G}\n")
    for used, proposed in ((None, 12), (7.9, 12), (11.0, 14)):
        accounting = Accounting("OUT_OF_MEMORY", used_gib=used, requested_gib=16.0)  # of both nodes
        verdict = judge(Evidence(run, accounting))
        assert (verdict.rule, verdict.command.split()[-1]) == ("host_memory", f"resources.memory={proposed}G")


def test_output_of_an_earlier_job_does_not_count(tmp_path: Path) -> None:
    run = failed(tmp_path, "")
    write_json(run.job, {"job_id": "9_1", "host": "login", "submitted": "2026-11-02T09:00:00+0000"})
    for name, time_s in (("7_1_0_log.out", 1.7e9), ("8_0_log.out", 1.9e9)):
        output = run.submitit / name
        output.write_text("Lmod: module(s) are unknown: x\n" if name[0] == "7" else "apptainer: command not found\n")
        os.utime(output, (time_s, time_s))
    assert judge(Evidence(run)).rule == "missing_image"
