"""``python -m tests.failures``: provoke all failures on the development cluster; see Makefile.

Prints what ``hpc-dl why`` says about each, and counts right, unknown and wrong answers. With
``--record`` the run folders become cases; those that exist are replaced.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.conftest import PROJECT
from tests.failures.provoke import ALONE, STEPS, Bench
from tests.failures.record import record

_TIMEOUT_S = 1200
_HIDDEN = ("SLURM_", "SBATCH_", "HPC_DL_", "WANDB_")


def main() -> int:
    """Return 0 if no answer is wrong."""
    with tempfile.TemporaryDirectory(prefix="hpc-dl-failures-") as name:
        bench = _bench(Path(name))
        os.environ.update(bench.environment)
        for failure in ALONE:
            bench.submit_alone(failure)
        bench.submit_steps(tuple(STEPS))
        counts: Counter[str] = Counter()
        runs = {run.name: run for run in bench.runs()}
        for position, (run, (rules, found)) in enumerate(sorted(bench.explained(_TIMEOUT_S).items())):
            answer = found.get("rule", found["state"])
            outcome = "right" if answer in rules.split() else "unknown" if answer == "unknown" else "wrong"
            counts[outcome] += 1
            failure = bench.failure_of(runs[run])
            print(f"{outcome:8} {failure:20} {answer:20} {found['cause']}", flush=True)
            if "--record" in sys.argv:
                case = f"{rules.split()[0]}-provoked-{failure.replace('_', '-')}"
                record(runs[run], case, rules, for_test=position % 2 == 0)
        print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        return int(counts["wrong"] > 0)


def _bench(folder: Path) -> Bench:
    exports = subprocess.run(
        [PROJECT / "slurm/dev-cluster/cluster", "env"], check=True, capture_output=True, text=True
    ).stdout
    command = folder / "bin" / "hpc-dl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from hpc_dl.cli.main import main; main()" "$@"\n')
    command.chmod(0o755)
    shutil.copy(PROJECT / "tests/cluster/tiny.yaml", folder)
    shutil.copy(PROJECT / "tests/failures/failing.py", folder)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    environment |= dict(re.findall(r"export (\w+)=(\S+)", re.sub("['\";]", "", exports)))
    environment |= {
        "PATH": f"{command.parent}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "HPC_DL_DATA": str(folder / "data"),
        "HPC_DL_RUNS": str(folder / "runs"),
    }
    bench = Bench(folder, environment)
    bench.hpc_dl("data", "make", "digits")
    return bench


if __name__ == "__main__":
    sys.exit(main())
