"""Failures that are provoked on the development cluster: what to submit, and the right answers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_dl.failures.explanation import explain
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state

#: Right rules by the method of tests/failures/failing.py; several where both are right.
STEPS = {
    "bug": "user_error",
    "recursion": "user_error",
    "exit": "user_error",
    "wrong_shape": "user_error",
    "label": "bad_labels",
    "no_package": "missing_package",
    "no_name": "import_error",
    "no_library": "missing_library",
    "no_file": "missing_data",
    "no_dataset_file": "missing_data",
    "damaged_file": "hdf5_corrupt",
    "cut_file": "hdf5_corrupt",
    "locked_file": "hdf5_lock",
    "full_disk": "no_space",
    "huge_array": "host_allocation",
    "huge_tensor": "host_allocation",
    "many_files": "open_files",
    "taken_port": "rendezvous_port",
    "weights": "model_mismatch",
    "damaged_weights": "checkpoint_damaged",
    "nan": "diverged",
    "anomaly": "diverged",
    "kill": "killed",
    "crash": "segfault",
    "abort": "segfault",
    "illegal": "illegal_instruction",
    "bus": "bus_error",
    "memory": "host_memory killed",
    "vanish": "vanished",
}
#: Those that CI provokes anew.
FEW = ("bug", "label", "no_package", "huge_tensor", "nan", "kill", "crash", "full_disk", "cut_file")
#: Overrides, site profile and right rules of runs that are submitted one by one.
ALONE: dict[str, tuple[tuple[str, ...], str, str]] = {
    "bug-second-rank": (("resources.nodes=2", "model.args={failure: bug, on_rank: 1}"), "", "user_error"),
    "kill-second-rank": (("resources.nodes=2", "model.args={failure: kill, on_rank: 1}"), "", "killed"),
    "stalled": (
        ("resources.nodes=2", "model.args={failure: hang, on_rank: 1}", "trainer.stall_timeout=0.2"),
        "",
        "stalled",
    ),
    "time-limit": (("resources.time=1", "model.args={failure: hang}"), "", "requeue_limit"),  # no step
    "module": ((), "modules: [a-module/1.0]\n", "missing_module"),
    "image": ((), "setup: [apptainer exec nowhere.sif true || exit 1]\n", "missing_image"),
    "library": (
        (),
        "setup: ['/bin/sh -c \"exec /nowhere/venv/bin/python\" || exit 1']\n",
        "missing_python",
    ),
    "no-gpu": (("trainer.accelerator=gpu",), "", "no_gpu"),
}


@dataclass
class Bench:
    """A folder in which failures are provoked.

    Attributes:
        folder: with ``tiny.yaml`` and ``failing.py``; the runs go to ``runs`` below it.
        environment: variables by which hpc-dl and Slurm are found.
    """

    folder: Path
    environment: dict[str, str]

    def hpc_dl(self, *arguments: str, timeout_s: float = 300) -> None:
        """Run a command of hpc-dl, which must succeed."""
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "timeout": timeout_s}
        done = subprocess.run(["hpc-dl", *arguments], capture_output=True, text=True, **options)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def submit_steps(self, names: tuple[str, ...]) -> None:
        """Submit one run for each method, as one job array."""
        values = {"model.args.failure": {"values": list(names)}}
        sweep = {"method": "grid", "parallel": 2, "parameters": values}
        self.hpc_dl("sweep", "tiny.yaml", *OWN, "model.args={failure: ''}", f"sweep={json.dumps(sweep)}", "--no-try")

    def submit_alone(self, name: str) -> None:
        """Submit one of :data:`ALONE`."""
        overrides, profile, _ = ALONE[name]
        site = self.folder / f"{name}.yaml"
        site.write_text(f"partition: main\n{profile}")
        self.hpc_dl("submit", "tiny.yaml", f"name={name}", *OWN, *overrides, "--site", str(site), "--no-try", "--json")

    def runs(self) -> Iterator[RunFolder]:
        """Yield all runs, also those of a sweep."""
        for folder in [self.folder / "runs", *(self.folder / "runs").glob("*-sweep*")]:
            yield from all_runs(folder)

    def failure_of(self, run: RunFolder) -> str:
        """Return the entry of :data:`ALONE` or :data:`STEPS` that a run belongs to."""
        config = run.config.read_text()
        alone = (name for name in ALONE if run.name.startswith(f"{name}-"))
        return next(alone, "") or next(name for name in STEPS if f"failure: {name}\n" in config)

    def expected(self, run: RunFolder) -> str:
        """Return the right rules for a run."""
        failure = self.failure_of(run)
        return ALONE[failure][2] if failure in ALONE else STEPS[failure]

    def explained(self, timeout_s: float) -> dict[str, tuple[str, dict[str, Any]]]:
        """Wait for all runs; return the right rules and the explanation of each."""
        deadline, found = time.monotonic() + timeout_s, {}
        waiting = list(self.runs())
        while waiting and time.monotonic() < deadline:
            for run in list(waiting):
                explanation = explain(run)
                if explanation["state"] not in ("pending", "running", "unknown", "created"):
                    found[run.name] = (self.expected(run), explanation)
                    waiting.remove(run)
            time.sleep(0.5)
        assert not waiting, {run.name: (read_state(run), read_job(run)) for run in waiting}
        return found


OWN = ("model={class: failing.Failing}", "optimizer={}", "data.batch_size=16", "trainer.accelerator=cpu")
