"""Kill trainings at random moments, start them again, and compare with one that nobody touched: bit
for bit.

``make soak`` or ``python -m benchmarks.soak --seconds 60 --seed 1``. The seed fixes which faults
come in which order, to which configuration, and at which moments they are aimed; the machine's own
timing decides where exactly they hit.

A run is launched as `hpc-dl submit --site local` does it, with the real launcher. Most processes
are forked from this one, which has imported torch once: that saves seconds for each start, and so
many more faults fit into the time. One in ten starts anew, as on a cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from hpc_dl.cluster import child_processes
from hpc_dl.cluster.launch import launch
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import Stopped
from hpc_dl.runs import attempts, checkpoints
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state

SAVE_EVERY = 7  # steps
SIZES = {"train": 192, "val": 29, "test": 27}
STEPS = 72  # 24 batches of 8 in each of 3 epochs
PATIENCE_S = 120.0  # for an attempt to end; the longest takes seconds
FIRST_WARM_S, FIRST_COLD_S = 0.7, 6.0  # about what it takes until the first step
COLD_SHARE = 0.1
FSIZE_LIMITS = (0, 64 * 1024)  # bytes: nothing can be written any more; journal and state still fit, no checkpoint does

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "1 rank": {"data": {"batch_size": 8}, "trainer": {"log_every_n_steps": 1}},
    "1 rank, gzip": {
        "data": {"batch_size": 4, "shuffle_buffer": 0.01},
        # Every other validation falls between two batches whose gradients are added up.
        "trainer": {"accumulate_grad_batches": 2, "val_check_interval": 9, "log_every_n_steps": 2},
    },
    "2 ranks, gzip": {
        "data": {"batch_size": 4, "shuffle_buffer": 0.01},
        "trainer": {"val_check_interval": 10, "log_every_n_steps": 1},
        "resources": {"gpus_per_node": 2},
    },
    "3 ranks": {  # from here on DDP's layout of its buckets matters
        "data": {"global_batch_size": 6},
        "trainer": {"limit_train_batches": 24, "log_every_n_steps": 3},
        "resources": {"gpus_per_node": 3},
    },
}
_EXPERIMENT: dict[str, Any] = {
    "seed": 5,
    "model": {"name": "cnn", "channels": [4, 8], "hidden": 512, "dropout": 0.5},
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"name": "cosine", "warmup_steps": 5},
    "checkpoint": {"every": f"{SAVE_EVERY} steps"},
}
_TRAINER = {"max_epochs": 3, "accelerator": "cpu", "num_sanity_val_steps": 1, "stall_timeout": 1.0}


# --- one attempt --------------------------------------------------------------------------------


class Attempt:
    """One start of a run, from outside: its processes, and how far it says it is."""

    def __init__(self, run: RunFolder, number: int = 0, *, cold: bool = False) -> None:
        """Launch all ranks of the run, each the leader of its process group, in one session of
        their own."""
        self.run = run
        self.number = number
        self.began = time.monotonic()
        self.cold = cold
        self._journals = set(run.journal.glob("attempt-*.jsonl"))
        self._started = len(_started(run))
        self._read: tuple[Path | None, int, int] = (None, 0, 0)
        self.status: int | None = None
        self.pid = _spawn(run) if cold else _fork(run)

    def poll(self) -> bool:
        """Whether it goes on."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self, seconds: float = PATIENCE_S) -> None:
        """Wait until it has ended with all that belongs to it.

        Raises:
            TimeoutError: it did not; it is killed by now.
        """
        until = time.monotonic() + seconds
        while self.poll() or any(map(_leads, self.processes())):
            if time.monotonic() > until:
                left = [f"{p.pid} ({p.status()})" for p in self.processes()]
                self.kill()
                raise TimeoutError(f"did not end within {seconds:.0f} s; left: {', '.join(left)}")
            time.sleep(0.005)
        self.kill()

    def kill(self) -> None:
        """Kill all that is left of it, at once."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while self.poll():
                time.sleep(0.001)

    def processes(self) -> list[psutil.Process]:
        """All living processes of the session: launcher and ranks."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def ranks(self) -> list[psutil.Process]:
        """The processes of the ranks; the launcher itself where there is one rank only."""
        with suppress(psutil.NoSuchProcess):
            launcher = psutil.Process(self.pid)
            return [launcher] if _world_size(self.run) == 1 else _alive(launcher.children())
        return []

    @property
    def from_step(self) -> int | None:
        """The step that it goes on from; ``None`` before it has said so."""
        lines = _started(self.run)[self._started :]
        return int(lines[-1]["from_step"]) if lines else None

    def step(self) -> int:
        """The last step that it has written into the journal; 0 before the first."""
        path, offset, step = self._read
        if path is None:
            path = next(iter(set(self.run.journal.glob("attempt-*.jsonl")) - self._journals), None)
        if path is not None:
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            for line in whole.splitlines():
                step = max(step, json.loads(line).get("step", 0))
            self._read = (path, offset + len(whole), step)
        return step

    def saving(self) -> str | None:
        """Name of the checkpoint that is being written, if one is."""
        with suppress(FileNotFoundError):
            return next((entry.name for entry in os.scandir(self.run.checkpoints) if _is_temporary(entry.name)), None)
        return None


def _leads(process: psutil.Process) -> bool:
    """Whether it leads its process group: launcher and ranks do."""
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid) == process.pid
    return False


def _is_temporary(name: str) -> bool:
    return name.startswith(".step-") and name.endswith(".tmp")


def _alive(found: Sequence[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _started(run: RunFolder) -> list[dict[str, Any]]:
    return [line for line in attempts.history(run) if line["event"] == "started"]


def _experiment(run: RunFolder) -> Experiment:
    return Experiment.from_dict(yaml.load(run.config))


def _world_size(run: RunFolder) -> int:
    return int(yaml.load(run.config)["resources"]["gpus_per_node"]) or 1


def _spawn(run: RunFolder) -> int:
    with (run.submitit / "background.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--attempt", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ).pid


def _fork(run: RunFolder) -> int:
    return _forked(lambda: _attempt_warm(run), os.setsid)


def _attempt_warm(run: RunFolder) -> int:
    log = os.open(run.submitit / "background.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    child_processes.subprocess = _WarmSubprocess  # type: ignore[attr-defined,assignment]
    return _attempt(run)


def _attempt(run: RunFolder) -> int:
    return launch(run, _experiment(run), foreground=False)


def _forked(work: Callable[[], int], become: Callable[[], None]) -> int:
    """Do the work in a forked process, which meets signals as a new program would."""
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            become()
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            status = work()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


class _WarmRank:
    """What the launcher takes for a ``subprocess.Popen`` of a rank: the same program, forked
    instead of started."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stdout: int, process_group: int) -> None:
        def work() -> int:
            from hpc_dl.cluster import rank_process

            os.environ.clear()
            os.environ.update(env)
            sys.argv = list(argv[argv.index("hpc_dl.cluster.rank_process") :])
            rank_process.main()
            return 0

        self.returncode: int | None = None
        self.pid = _forked(work, lambda: os.setpgid(0, 0))
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(self.pid, self.pid)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class _WarmSubprocess:
    Popen = _WarmRank


# --- faults -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """One fault, planned: all that is random about it is drawn here.

    Attributes:
        fault: what happens.
        moment: when.
        where: which part of the steps that are left (0 to 1), or which save, validation, second.
        delay_s: seconds after that moment.
        target: to whom (0 to 1).
        second_s: seconds until the fault's second part, where it has one.
        cold: whether the attempt that it meets starts as a new program.
    """

    fault: str
    moment: str
    where: float
    delay_s: float
    target: float
    second_s: float
    cold: bool


Apply = Callable[[Attempt, Shot], None]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        apply: does it.
        graceful: the run is asked to stop: it must save, and no step may be lost.
        ends: the attempt ends by it.
        backups: damaged checkpoints: each may cost another interval. ``None``: nothing is promised,
            since nothing can be saved.
        needs: ``ranks``: several.
        moments: when it makes sense; any when empty.
    """

    apply: Apply
    graceful: bool = False
    ends: bool = True
    backups: int | None = 0
    needs: str = ""
    moments: tuple[str, ...] = ()


MOMENTS = ("start", "step", "time", "save", "validation", "test")


def _signal(*numbers: int) -> Apply:
    """Ask to stop: through the launcher, each rank, or one of them alone."""

    def apply(attempt: Attempt, shot: Shot) -> None:
        ranks = [rank.pid for rank in attempt.ranks()]
        whom = [attempt.pid]
        if ranks and shot.target > 0.4:
            whom = ranks if shot.target < 0.7 else [ranks[int(1000 * shot.target) % len(ranks)]]
        for index, number in enumerate(numbers):
            if index:
                time.sleep(shot.second_s / 20)
            for pid in whom:
                if attempt.poll():
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    return apply


def _kill_one_rank(attempt: Attempt, shot: Shot) -> None:
    if ranks := attempt.ranks():
        _kill(ranks[int(shot.target * len(ranks))])


def _kill_launcher(attempt: Attempt, shot: Shot) -> None:
    _kill(psutil.Process(attempt.pid))


def _kill_all(attempt: Attempt, shot: Shot) -> None:
    attempt.kill()


def _truncate(attempt: Attempt, shot: Shot) -> None:
    attempt.kill()
    if path := _newest(attempt.run):
        os.truncate(path, int(shot.target * path.stat().st_size))


def _flip_byte(attempt: Attempt, shot: Shot) -> None:
    attempt.kill()
    if path := _newest(attempt.run):
        with path.open("r+b") as file:
            file.seek(int(shot.target * path.stat().st_size))
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ (1 << int(shot.where * 8))]))


def _suspend(attempt: Attempt, shot: Shot) -> None:
    everyone = attempt.processes() if shot.target < 0.5 else attempt.ranks()[-1:]
    _each(everyone, signal.SIGSTOP)
    time.sleep(1.0)
    _each(everyone, signal.SIGCONT)


def _fill_disk(attempt: Attempt, shot: Shot) -> None:
    _limit_files(attempt, FSIZE_LIMITS[shot.target > 0.5])


def _fill_disk_for_a_while(attempt: Attempt, shot: Shot) -> None:
    _limit_files(attempt, FSIZE_LIMITS[1])
    time.sleep(shot.second_s)
    _limit_files(attempt, resource.RLIM_INFINITY)


def _limit_files(attempt: Attempt, size: int) -> None:
    """No file of the ranks can grow beyond a size: the nearest to a full disk that needs no root."""
    for process in {psutil.Process(attempt.pid), *attempt.ranks()} if attempt.poll() else ():
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


def _newest(run: RunFolder) -> Path | None:
    """The checkpoint that the next attempt goes on from; ``None`` when there will be none."""
    if read_state(run)["state"] == "finished":
        return None
    found = [checkpoint.path for checkpoint in checkpoints.listed(run.checkpoints, "step")]
    return found[-1] if found else None


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _each(found: Sequence[psutil.Process], number: int) -> None:
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


FAULTS: dict[str, Fault] = {
    "SIGUSR2": Fault(_signal(signal.SIGUSR2), graceful=True),
    "SIGUSR1": Fault(_signal(signal.SIGUSR1), graceful=True),
    "SIGTERM": Fault(_signal(signal.SIGTERM), graceful=True),
    "SIGINT": Fault(_signal(signal.SIGINT), graceful=True),
    "SIGTERM twice": Fault(_signal(signal.SIGTERM, signal.SIGTERM), graceful=True),
    "SIGUSR2, then SIGTERM": Fault(_signal(signal.SIGUSR2, signal.SIGTERM), graceful=True),
    "SIGKILL of one rank": Fault(_kill_one_rank),
    "SIGKILL of all processes": Fault(_kill_all),
    "SIGKILL while saving": Fault(_kill_all, moments=("save",)),
    "SIGKILL of the launcher": Fault(_kill_launcher, needs="ranks"),
    "newest checkpoint truncated": Fault(_truncate, backups=1, moments=("step", "validation", "test")),
    "one bit of it flipped": Fault(_flip_byte, backups=1, moments=("step", "validation", "test")),
    "SIGSTOP, SIGCONT": Fault(_suspend, ends=False),
    "disk full": Fault(_fill_disk, backups=None, moments=("start", "step", "save", "validation")),
    "disk full for a while": Fault(_fill_disk_for_a_while, ends=False, backups=None, moments=("step", "save")),
}


def promised(fault: Fault, configuration: str) -> int | None:
    """How many steps the fault may cost; ``None``: any number."""
    if fault.graceful or fault.backups is None:
        return 0 if fault.graceful else None
    # Several ranks agree on saving one batch later than they ask for it.
    return (SAVE_EVERY + (not configuration.startswith("1 "))) * (1 + fault.backups)


def plans(seed: int) -> Iterator[tuple[str, list[Shot]]]:
    """Without end: a configuration and the faults that it gets, each kind as often as any other."""
    dice = random.Random(seed)
    deck: list[str] = []
    order = list(CONFIGURATIONS)
    while True:
        dice.shuffle(order)
        for configuration in order:
            has = {"": True, "ranks": not configuration.startswith("1 ")}
            hand: list[str] = []
            wanted = dice.randint(2, 6)
            while len(hand) < wanted:
                fitting = next((fault for fault in deck if has[FAULTS[fault].needs]), None)
                if fitting is None:
                    deck += dice.sample(list(FAULTS), len(FAULTS))
                else:
                    deck.remove(fitting)
                    hand.append(fitting)
            shots = [_shot(fault, dice) for fault in hand]
            # What comes in the test is the last: no step is left to be hit.
            yield configuration, sorted(shots, key=lambda shot: shot.moment == "test")


def _shot(fault: str, dice: random.Random) -> Shot:
    moment = dice.choice(FAULTS[fault].moments or MOMENTS)
    return Shot(
        fault,
        moment,
        where=dice.random(),
        delay_s=dice.choice([0.0, dice.uniform(0, 0.01), dice.uniform(0, 0.05)]),
        target=dice.random(),
        second_s=dice.random(),
        cold=dice.random() < COLD_SHARE,
    )


# --- runs ---------------------------------------------------------------------------------------


@dataclass
class Trial:
    """What one fault did.

    Attributes:
        run: number of the run, from 1; shots of the same run have the same.
        configuration: of the run.
        attempt: of the run, from 0.
        shot: the fault as planned.
        status: exit status of the launcher; negative when it was killed; ``None`` where it went on.
        reached: optimizer steps done when it came, as far as the run has told.
        resumed_from: the step from which the next attempt went on.
        seconds: from the fault until all processes of the attempt were gone.
        survived: the run came to its end.
        identical: weights, optimizer, random states, journal and result are those of the reference.
        problem: what was not as promised, in words.
    """

    run: int
    configuration: str
    attempt: int
    shot: Shot
    status: int | None = None
    reached: int = 0
    resumed_from: int | None = None
    seconds: float = 0.0
    survived: bool = False
    identical: bool = False
    problem: str = ""

    @property
    def lost(self) -> int | None:
        """Steps that have to be done again; ``None`` where the fault ended nothing."""
        return None if self.resumed_from is None else max(0, self.reached - self.resumed_from)


@dataclass
class Soak:
    """All runs of one call.

    Attributes:
        folder: for data and runs.
        seed: of the faults.
        trials: what happened so far.
        references: the undisturbed run of each configuration used so far, and its duration in
            seconds.
    """

    folder: Path
    seed: int
    trials: list[Trial] = field(default_factory=list)
    references: dict[str, tuple[RunFolder, float]] = field(default_factory=dict)
    runs: int = 0

    def go(self, seconds: float, tell: Callable[[str], None]) -> None:
        """Go on until the time is over; a run that was begun is brought to its end.

        Args:
            seconds: how long; the undisturbed runs come on top of it.
            tell: shows one line of progress.
        """
        until = time.monotonic() + seconds
        for configuration, shots in plans(self.seed):
            if time.monotonic() >= until:
                return
            began = time.monotonic()
            reference = self._reference(configuration)
            until += time.monotonic() - began
            self.runs += 1
            trials = self._run(configuration, shots, reference, until)
            self.trials += trials
            for trial in trials:
                tell(_told(trial))

    def _prepare(self, configuration: str) -> RunFolder:
        from tests import experiments

        file = self.folder / "classes.h5"
        if not file.exists():
            experiments.compressed(experiments.classification_file(self.folder, SIZES))
        if "gzip" in configuration:
            file = file.with_name(f"compressed-{file.name}")
        sections = CONFIGURATIONS[configuration]
        own = {**_EXPERIMENT, **sections, "trainer": {**_TRAINER, **sections["trainer"]}}
        raw = experiments.raw(file, **own)
        if "global_batch_size" in own["data"]:
            del raw["data"]["batch_size"]
        return experiments.prepared(self.folder, raw)

    def _reference(self, configuration: str) -> tuple[RunFolder, float]:
        if configuration not in self.references:
            run = self._prepare(configuration)
            attempt = Attempt(run)
            attempt.wait()
            if attempt.status != 0 or read_state(run)["state"] != "finished":
                raise RuntimeError(f"the undisturbed run failed: {read_state(run).get('reason')}; see {run.path}")
            steps = json.loads(run.result.read_text())["steps"]
            assert steps == STEPS, f"{configuration}: {steps} steps"
            self.references[configuration] = (run, time.monotonic() - attempt.began)
        return self.references[configuration]

    def _run(
        self, configuration: str, shots: list[Shot], reference: tuple[RunFolder, float], until: float
    ) -> list[Trial]:
        """One run with its faults, brought to its end and compared."""
        run = self._prepare(configuration)
        trials: list[Trial] = []
        problem = ""
        attempt = Attempt(run, cold=shots[0].cold)
        try:
            for left, shot in zip(range(len(shots), 0, -1), shots, strict=True):
                if time.monotonic() >= until:
                    break
                if not attempt.poll():
                    if read_state(run)["state"] == "finished":
                        break
                    attempt = Attempt(run, attempt.number + 1, cold=shot.cold)
                if _come(attempt, shot, left, configuration, reference[1]):
                    trial = Trial(self.runs, configuration, attempt.number, shot)
                    trials.append(trial)
                    self._hit(attempt, trial)
                _tell_resumed(trials, attempt)
            for _ in range(3 + len(shots)):
                attempt.wait()
                _tell_resumed(trials, attempt)
                if read_state(run)["state"] == "finished":
                    break
                attempt = Attempt(run, attempt.number + 1)
            if read_state(run)["state"] == "finished":
                problem = "; ".join(map(str, differences(reference[0], run)[:3]))
                for trial in trials:
                    trial.survived, trial.identical = True, not problem
            else:
                problem = f"never came to its end: {read_state(run).get('reason')}"
        except (OSError, ValueError, LookupError, RuntimeError) as error:  # TimeoutError is an OSError
            problem = f"{type(error).__name__}: {error}"
        finally:
            attempt.kill()
        for trial in trials:
            allowed = _allowed(trial, trials)
            if trial.lost is not None and allowed is not None and trial.lost > allowed:
                trial.problem = trial.problem or f"lost {trial.lost} steps, {allowed} were promised"
            trial.problem = trial.problem or (problem and f"{problem}; see {run.path}")
        if not any(trial.problem for trial in trials):
            shutil.rmtree(run.path)
        return trials

    @staticmethod
    def _hit(attempt: Attempt, trial: Trial) -> None:
        fault = FAULTS[trial.shot.fault]
        begun = attempt.from_step is not None
        began = time.monotonic()
        fault.apply(attempt, trial.shot)
        if not fault.ends:
            trial.reached = attempt.step()
            return
        attempt.wait()
        trial.seconds = round(time.monotonic() - began, 3)
        trial.status = attempt.status
        trial.reached = attempt.step()
        state = read_state(attempt.run)
        if state["state"] in ("stopped", "finished"):
            trial.reached = max(trial.reached, state["step"])
        if fault.graceful and begun and attempt.status not in (0, Stopped.exit_status):
            trial.problem = f"ended with status {attempt.status} ({state.get('reason')}); see {attempt.run.path}"


def _allowed(trial: Trial, trials: Sequence[Trial]) -> int | None:
    """How many steps the fault may cost after what its attempt had met before; ``None``: any
    number."""
    allowed = promised(FAULTS[trial.shot.fault], trial.configuration)
    for earlier in trials[: trials.index(trial)]:
        full = FAULTS[earlier.shot.fault].backups is None
        full &= (earlier.run, earlier.attempt) == (trial.run, trial.attempt)
        # There is room again, but the next checkpoint is an interval away (twice that: what a run
        # tells lags behind).
        if allowed and full and trial.reached - earlier.reached < 2 * allowed:
            return None
    return allowed


def _tell_resumed(trials: Sequence[Trial], attempt: Attempt) -> None:
    """Note for the faults of earlier attempts where this one goes on."""
    for trial in trials:
        if trial.status is not None and trial.attempt < attempt.number and trial.resumed_from is None:
            trial.resumed_from = attempt.from_step


def _come(attempt: Attempt, shot: Shot, left: int, configuration: str, seconds: float) -> bool:
    """Wait for the shot's moment; whether it came before the attempt ended.

    Args:
        attempt: the attempt.
        shot: the shot.
        left: shots that are left, with this one: they share the steps that are left.
        configuration: of the run.
        seconds: duration of the undisturbed run.
    """
    first = max((c.step for c in checkpoints.listed(attempt.run.checkpoints, "step")), default=0)
    share = (STEPS - first) / left
    step = STEPS if shot.moment == "test" else min(STEPS, first + 1 + int(shot.where * share))
    if shot.moment == "validation":
        step = next((after for after in _validations(configuration) if after >= step), STEPS)
    first_s = FIRST_COLD_S if attempt.cold else FIRST_WARM_S
    until_s = shot.where * (first_s if shot.moment == "start" else seconds / left)
    saves: set[str] = set()
    while attempt.poll():
        if shot.moment in ("start", "time"):
            come = time.monotonic() - attempt.began >= until_s
        elif shot.moment == "save":
            name = attempt.saving()
            saves |= {name} if name else set()
            come = bool(name) and len(saves) > int(2 * shot.where)
        else:
            come = attempt.step() >= step
        if come:
            time.sleep(shot.delay_s)
            return attempt.poll()
        if time.monotonic() - attempt.began > PATIENCE_S:
            attempt.wait(0)
        time.sleep(0.0003 if shot.moment == "save" else 0.001)
    return False


def _validations(configuration: str) -> list[int]:
    """The steps after which it validates."""
    trainer = CONFIGURATIONS[configuration]["trainer"]
    epoch, batches_in_step = STEPS // 3, trainer.get("accumulate_grad_batches", 1)
    every = trainer.get("val_check_interval", epoch * batches_in_step)
    batches = range(every, epoch * batches_in_step + 1, every)
    return [begin + batch // batches_in_step for begin in range(0, STEPS, epoch) for batch in batches]


# --- telling ------------------------------------------------------------------------------------


def _told(trial: Trial) -> str:
    shot = trial.shot
    outcome = trial.problem or ("identical" if trial.identical else "?")
    lost = "went on" if trial.lost is None else f"step {trial.reached} → {trial.resumed_from}"
    ended = f"ended in {trial.seconds:.1f} s, " if trial.seconds else ""
    return f"run {trial.run} ({trial.configuration}): {shot.fault} at {shot.moment}: {ended}{lost}: {outcome}"


def table(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """A row for each kind of fault."""
    rows = []
    for name, fault in FAULTS.items():
        own = [trial for trial in trials if trial.shot.fault == name]
        limits = [promised(fault, trial.configuration) for trial in own]
        # What a full disk cost in the same attempt is not this fault's.
        lost = [
            trial.lost
            for trial, limit in zip(own, limits, strict=True)
            if trial.lost is not None and (limit is None or _allowed(trial, trials) is not None)
        ]
        known = [limit for limit in limits if limit is not None]
        rows.append(
            {
                "fault": name,
                "tries": len(own),
                "survived": sum(trial.survived for trial in own),
                "most_steps_lost": max(lost, default=None),
                "promised": max(known) if known and fault.ends else None,
                "identical": sum(trial.identical for trial in own),
                "problems": [_told(trial) for trial in own if trial.problem],
            }
        )
    return rows


def _print(rows: Sequence[Mapping[str, Any]], trials: Sequence[Trial], title: str) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 100)
    shown = Table(title=title, title_justify="left", box=SIMPLE)
    for column in ("fault", "tries", "survived", "steps lost", "promised", "identical"):
        shown.add_column(column, justify="left" if column == "fault" else "right", no_wrap=True)
    for row in rows:
        cells = [row[key] for key in ("tries", "survived", "most_steps_lost", "promised", "identical")]
        style = "red" if row["problems"] else None
        shown.add_row(row["fault"], *["–" if cell is None else str(cell) for cell in cells], style=style)
    console.print(shown)
    moments = {name: sum(trial.shot.moment == name for trial in trials) for name in MOMENTS}
    console.print("Moments: " + ", ".join(f"{name} {count}" for name, count in moments.items()), highlight=False)
    for row in rows:
        for problem in row["problems"]:
            console.print(problem, style="red", highlight=False, soft_wrap=True)


def _import_all() -> None:
    """All that a rank imports, so that a forked one need not."""
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    import torch

    import hpc_dl.cluster.rank_process
    import hpc_dl.models.cnn
    import hpc_dl.training.train  # noqa: F401
    import tests.experiments  # noqa: F401

    torch.set_num_threads(1)  # a pool of threads does not outlive a fork


def main() -> int:
    """Run the soak; 1 when anything was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; undisturbed runs come on top")
    parser.add_argument("--seed", type=int, default=None, help="fixes the faults; another one each time by default")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH", help="write all that happened there")
    parser.add_argument("--attempt", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attempt is not None:
        return _attempt(RunFolder(options.attempt))
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    _import_all()
    began = time.monotonic()
    soak = Soak(Path(tempfile.mkdtemp(prefix="hpc-dl-soak-")), seed)
    try:
        soak.go(options.seconds, lambda line: print(line, flush=True))
    finally:
        seconds = time.monotonic() - began
        rows = table(soak.trials)
        title = f"{len(soak.trials)} faults in {soak.runs} runs, {seconds:.0f} s, seed {seed}"
        _print(rows, soak.trials, title)
        if options.json is not None:
            facts = {"seed": seed, "seconds": round(seconds, 1), "runs": soak.runs, "python": platform.python_version()}
            told = [{**asdict(trial), "lost": trial.lost} for trial in soak.trials]
            options.json.write_text(json.dumps({**facts, "faults": rows, "trials": told}, indent=2) + "\n")
    failed = [row for row in rows if row["problems"]]
    if failed:
        print(f"Kept for a look: {soak.folder}")
    else:
        shutil.rmtree(soak.folder)
    return 1 if failed or not soak.trials else 0


if __name__ == "__main__":
    # SystemExit would wait at exit for what torch has left behind in an attempt.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
