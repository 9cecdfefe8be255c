"""The study of a sweep: points by number, results, pruning, and processes that are killed."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from hpc_dl.regular_files import read_json
from hpc_dl.studies.journal_lock import JournalLock
from hpc_dl.studies.study import Study, successive_halving, tpe
from hpc_dl.studies.trial_file import JOURNAL
from tests.conftest import PROJECT
from tests.studies.asking import point


def trials(folder: Path, name: str = "paraboloid") -> list[optuna.trial.FrozenTrial]:
    """As Optuna's own tools read them."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name=name, storage=storage).trials


def study(folder: Path, number: int = 0) -> Study:
    return Study(folder, "paraboloid", "min", tpe(number))


def test_point_stays_the_same_for_its_number(tmp_path: Path) -> None:
    first, other = study(tmp_path).ask(0, point), study(tmp_path, 1).ask(1, point)
    assert study(tmp_path, 5).ask(0, point) == first != other
    study(tmp_path).tell({0: 3.0})
    assert study(tmp_path, 5).ask(0, point) == first
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_results_are_told_once_and_a_failed_point_may_finish_later(tmp_path: Path) -> None:
    for number in range(3):
        study(tmp_path, number).ask(number, point)
    study(tmp_path).tell({0: 1.0, 1: "failed", 2: "pruned"})
    assert study(tmp_path).unfinished() == {1}
    study(tmp_path).tell({0: 9.0, 1: 2.0, 2: 9.0, 7: 1.0})
    assert study(tmp_path).unfinished() == set()
    ends = [(trial.state.name, trial.value) for trial in trials(tmp_path)]
    assert ends == [("COMPLETE", 1.0), ("FAIL", None), ("PRUNED", None), ("COMPLETE", 2.0)]


def test_half_a_line_of_a_killed_process_does_no_harm(tmp_path: Path) -> None:
    study(tmp_path).ask(0, point)
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"op_code": 4, "study')
    study(tmp_path, 1).ask(1, point)
    assert len(trials(tmp_path)) == 2


def test_point_that_lags_is_ended_and_one_that_leads_is_not(tmp_path: Path) -> None:
    asha = Study(tmp_path, "paraboloid", "max", pruner=successive_halving(1, 2))
    for number in range(2):
        asha.ask(number, point)
    assert not asha.lags(0, 1, 0.5)
    assert not asha.lags(1, 1, 0.9), "better than the other one"
    assert asha.lags(0, 2, 0.6) is False, "alone so far after 2 epochs"
    assert not asha.lags(0, 2, 0.1), "an epoch that is trained again after a kill counts once"
    asha.ask(2, point)
    assert asha.lags(2, 1, 0.2)
    asha.tell({2: "pruned"})
    assert not asha.lags(2, 2, 0.1), "resumed on request, it trains to its end"
    assert trials(tmp_path)[2].value == 0.2


def test_lock_of_a_killed_process_is_taken_over_and_one_in_use_is_not(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.with_name("journal.lock").touch()
    started = time.monotonic()
    taken: list[float] = []

    def take() -> None:
        with JournalLock(journal, stale_s=0.5):
            taken.append(time.monotonic())

    lock = JournalLock(journal, stale_s=0.5)
    with lock:
        assert time.monotonic() - started >= 0.5
        waiting = threading.Thread(target=take)
        waiting.start()
        while time.monotonic() - started < 1.5:  # with a sign of life more often than the lock becomes stale
            time.sleep(0.1)
            with lock:
                assert not taken
    released = time.monotonic()
    waiting.join(5)
    assert released <= taken[0] < released + 1
    assert list(tmp_path.glob("journal.lock*")) == []


def test_lock_excludes_that_of_optuna(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    with JournalLock(journal), pytest.raises(FileExistsError):
        os.symlink(journal, JournalFileSymlinkLock(str(journal))._lock_file)


@pytest.mark.slow  # starts 8 processes several times
def test_eight_processes_that_are_killed_lose_no_point_and_choose_none_twice(tmp_path: Path) -> None:
    chance, each = random.Random(0), 4

    def start(worker: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.studies.asking", tmp_path, worker * each, (worker + 1) * each]
        return subprocess.Popen(list(map(str, command)), cwd=PROJECT)

    workers = [start(number) for number in range(8)]
    kills, end = 0, time.monotonic() + 120
    while any(worker.poll() is None for worker in workers) and time.monotonic() < end:
        time.sleep(chance.uniform(0.05, 0.3))
        number = chance.randrange(8)
        if kills < 15 and workers[number].poll() is None and (tmp_path / JOURNAL).exists():
            workers[number].kill()
            workers[number].wait()
            workers[number] = start(number)
            kills += 1
    assert [worker.poll() for worker in workers] == [0] * 8
    found = {trial.user_attrs["number"]: trial for trial in trials(tmp_path)}
    assert len(found) == len(trials(tmp_path)) == 8 * each
    assert all(trial.state == TrialState.COMPLETE for trial in found.values())
    assert all(trial.params == read_json(tmp_path / f"point-{number}.json") for number, trial in found.items())
