"""A failure as one text file: what is known of it, then the files of its run folder.

Lines ``# KEY: VALUE`` come first: ``rule``, ``keys`` and ``resume`` are the right answer, ``set``
is ``tuning`` or ``test`` (no rule may be tuned on it), ``source`` says where it comes from.
``--- FILE`` starts a file of the run folder, ``--- sacct`` what Slurm's accounting prints. Files
that every run has are added.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.cluster.accounting import Accounting, read_sacct
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.verdict import Verdict, judge
from hpc_dl.runs.folder import RunFolder

FOLDER = Path(__file__).parent / "cases"
JOB = "4711"
_CONFIG = """\
name: tiny
seed: 0
data: {file: /data/digits.h5, batch_size: 64}
model: {name: mlp}
optimizer: {name: adamw, lr: 0.001}
trainer: {max_epochs: 10, accumulate_grad_batches: 1, gradient_clip_val: null}
resources: {nodes: 1, gpus_per_node: 2, cpus_per_gpu: 4, memory: 16G, time: "01:00:00"}
"""
_FILES = {
    "layout": "2\n",
    "config.yaml": _CONFIG,
    "job.json": json.dumps({"job_id": JOB, "host": "login1", "submitted": "2020-01-01T00:00:00+0000"}),
    "state.json": json.dumps({"state": "running", "time": "2026-11-02T09:00:00+0000"}),
}


@dataclass(frozen=True)
class Case:
    """A failure and its right explanation.

    Attributes:
        name: of its file.
        facts: the lines at its start.
        files: content by path in the run folder.
    """

    name: str
    facts: dict[str, str]
    files: dict[str, str]

    @property
    def keys(self) -> set[str]:
        """The keys, one of which the remedy must name; empty where none helps."""
        return set(self.facts.get("keys", "").split())

    def verdict(self, folder: Path) -> Verdict:
        """Return what the rules say."""
        for name, content in (_FILES | self.files).items():
            if name != "sacct":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(content, encoding="utf-8")
        rows, job = self.files.get("sacct", ""), json.loads(self.files.get("job.json", "{}")).get("job_id", JOB)
        return judge(Evidence(RunFolder(folder), read_sacct(rows, job) if rows else Accounting()))

    def outcome(self, verdict: Verdict) -> str:
        """Return ``right``, ``unknown``, or what is wrong with a verdict."""
        if verdict.rule == "unknown":
            return "right" if self.facts["rule"] == "unknown" else "unknown"
        if verdict.rule not in self.facts["rule"].split():
            return f"wrong cause: {verdict.rule}, not {self.facts['rule']}: {verdict.evidence}"
        if self.keys and not self.keys & set(verdict.keys):
            return f"wrong keys: {verdict.keys}, not {self.keys}"
        if (resume := self.facts.get("resume")) and (resume == "yes") != verdict.resume:
            return f"wrong about resuming: {verdict.resume}"
        return "right"


def read(path: Path) -> Case:
    """Read the file of a case."""
    head, *parts = re.split(r"(?m)^--- (\S+)\n", path.read_text(encoding="utf-8"))
    facts = dict(re.findall(r"(?m)^# (\w+): (.*)$", head))
    return Case(path.stem, facts, dict(zip(parts[::2], parts[1::2], strict=True)))


def cases() -> list[Case]:
    """Return all cases."""
    return [read(path) for path in sorted(FOLDER.glob("*.txt"))]
