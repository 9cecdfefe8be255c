"""Turns the folder of a failed run into a case: the same files, but shorter and anonymous."""

import json
import re
import sys
from pathlib import Path

from hpc_dl.cluster import slurm
from hpc_dl.cluster.accounting import sacct_rows
from hpc_dl.failures.evidence import Evidence
from hpc_dl.runs.folder import RunFolder
from tests.conftest import PROJECT
from tests.failures.case import FOLDER

_MOST_LINES = 40
_FILES = ("state.json", "cancelled.json", "requeue-refused")
_SETTINGS = ("seed", "data.batch_size", "trainer.accumulate_grad_batches", "optimizer.lr", "resources.nodes",
             "resources.gpus_per_node", "resources.memory", "resources.time")  # fmt: skip


def record(run: RunFolder, name: str, rules: str, *, for_test: bool) -> None:
    """Write the case of a run.

    Args:
        run: a run that has ended.
        name: of the case.
        rules: the right rules.
        for_test: whether it belongs to the test set, on which no rule is tuned.
    """
    evidence = Evidence(run)
    facts = {"source": "provoked by tests/failures/provoke.py", "set": "test" if for_test else "tuning", "rule": rules}
    parts = [f"# {key}: {value}\n" for key, value in facts.items()]
    if job := slurm.job_of(evidence.job):
        parts += [f"--- job.json\n{json.dumps({'job_id': str(job), 'host': 'login1'})}\n"]
        parts += [f"--- sacct\n{sacct_rows(job)}"]
    values = {key: evidence.settings[key] for key in _SETTINGS if key in evidence.settings}
    parts.append("--- config.yaml\n" + "".join(f"{key}: {value}\n" for key, value in _nested(values).items()))
    files = [run.path / file for file in _FILES] + sorted(run.logs.glob("*.log")) + sorted(run.submitit.glob("*.out"))
    for path in files:
        if path.is_file() and (lines := path.read_text(errors="replace").splitlines()):
            kept = lines if len(lines) <= _MOST_LINES else [lines[0], *lines[1 - _MOST_LINES :]]
            parts.append(f"--- {path.relative_to(run.path)}\n" + "\n".join(kept) + "\n")
    (FOLDER / f"{name}.txt").write_text(_anonymous("".join(parts), run), encoding="utf-8")


def _nested(values: dict[str, object]) -> dict[str, str]:
    sections: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        section, _, rest = key.partition(".")
        sections.setdefault(section, {})[rest] = value
    return {name: json.dumps(section.get("", section)) for name, section in sections.items()}


def _anonymous(text: str, run: RunFolder) -> str:
    places = {str(run.path): "/runs/tiny", str(run.path.parent): "/runs", str(Path(sys.prefix)): "/venv",
              str(PROJECT): "/src", sys.base_prefix: "/python", str(Path.home()): "/home/ada"}  # fmt: skip
    for place, name in places.items():
        text = text.replace(place, name)
    return re.sub(r"/tmp/\w+", "/tmp/x", text)
