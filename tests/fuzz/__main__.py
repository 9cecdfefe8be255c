"""``python -m tests.fuzz``: damaged input at random, in parallel; exit status 1 if any case fails.

Every failure names seed and case, with which ``--seed S --only KIND --case N`` repeats it.
"""

from __future__ import annotations

import argparse
import collections
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import hdf5_files, pack_files, yaml_files
from tests.fuzz.workers import Outcome, run_cases

Check = Callable[[int, int, Path], tuple[str, str]]
#: The number of cases of each kind in a whole run.
CASES = {"hdf5": 2000, "yaml": 1000, "pack": 200}


def checks(folder: Path, kinds: list[str]) -> dict[str, Callable[[int, int], tuple[str, str]]]:
    """Return, for each kind, a function of seed and case; base files are made once."""
    makers = {"hdf5": hdf5_files, "yaml": yaml_files, "pack": pack_files}
    result = {}
    for kind in kinds:
        folder_of_kind = folder / kind
        folder_of_kind.mkdir()
        bases = makers[kind].make_bases(folder_of_kind)
        check = functools.partial(makers[kind].check_case, bases=bases, folder=folder_of_kind)
        result[kind] = lambda case, seed, check=check: check(case, seed)
    return result


def main() -> None:
    """Parse the command line, run the cases, print a table of outcomes and all failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the cases of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--case", type=int, help="run this case alone, in this process")
    options = parser.parse_args()
    kinds = [options.only] if options.only else list(CASES)
    failures: list[tuple[str, Outcome]] = []
    with tempfile.TemporaryDirectory() as folder:
        all_checks = checks(Path(folder), kinds)
        if options.case is not None:
            print(*all_checks[kinds[0]](options.case, options.seed))
            return
        started = time.monotonic()
        for kind in kinds:
            counts: collections.Counter[str] = collections.Counter()
            number = max(1, round(CASES[kind] * options.share))
            for outcome in run_cases(range(number), lambda case, kind=kind: all_checks[kind](case, options.seed)):
                counts[outcome.kind] += 1
                if "library does not survive" in outcome.detail:  # it crashed or hung in the child process
                    counts["of these, libhdf5 crashed or hung"] += 1
                    print(f"{kind} case {outcome.case}: {outcome.detail}", flush=True)
                if outcome.failed:
                    failures.append((kind, outcome))
                    print(f"{kind} case {outcome.case}: {outcome.kind}: {outcome.detail}", flush=True)
                if time.monotonic() - started > options.seconds:
                    break
            print(f"{kind}, seed {options.seed}: {dict(sorted(counts.items()))}", flush=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
