"""The ``wandb.Run`` of a user's code, which logs into the run folder, and from there to W&B."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.data_types.utils import history_dict_to_json
from wandb.sdk.lib import module

from hpc_dl.tracking.other_loggers_calls import TensorBoardCalls

_INSTEAD = {
    "log_artifact": "upload it afterward with `wandb artifact put`, or keep it in the run folder",
    "log_model": "set checkpoint.keep in the YAML, and `wandb artifact put` a checkpoint afterward",
    "link_model": "link the model in W&B after the upload",
    "link_artifact": "link the artifact in W&B after the upload",
    "upsert_artifact": "upload it afterward with `wandb artifact put`",
    "use_artifact": "download it before the job with `wandb artifact get`",
    "use_model": "download it before the job with `wandb artifact get`",
    "save": "keep the file in the run folder",
    "log_code": "the run folder has a copy of the code",
    "alert": "have Slurm send mail",
    "watch": "log histograms with wandb.log({name: wandb.Histogram(values)})",
    "unwatch": "it has nothing to undo",
    "restore": "the run folder has all files",
}
"""What W&B's own client can do and a run of hpc_dl cannot, with what to use instead."""

_INIT, _LOGIN = wandb.init, wandb.login

Record = Callable[[Mapping[str, Any], Mapping[str, Any], int], None]
"""Called with numbers, other values and the step of a row."""
Note = Callable[[str, Mapping[str, Any]], None]
"""Called with ``config`` or ``summary`` and new values of it."""


class RecordedRun(TensorBoardCalls, wandb.Run):
    """A run without a connection, for ``wandb.run`` and ``self.logger.experiment``.

    ``wandb.log`` writes numbers to the journal, and all else (images, histograms, tables, text) to
    a file beside it; nothing is sent from here. A row belongs to the training's global step.
    """

    def __init__(
        self,
        run_id: str,
        name: str,
        project: str,
        files: Path,
        step: Callable[[], int],
        record: Record,
        note: Note,
        say_once: Callable[[str], None],
    ) -> None:
        """Create a run.

        Args:
            run_id: its id in W&B.
            name: its name.
            project: its project.
            files: where images and other media are kept.
            step: returns the training's global step.
            record: records a row.
            note: records changes of ``config`` and ``summary``.
            say_once: called with messages for the user.
        """
        settings = wandb.Settings(mode="offline", run_id=run_id, run_name=name, project=project, silent=True)
        super().__init__(settings=settings)
        self._attach_id = None
        self._config._set_callback(  # type: ignore[no-untyped-call]
            lambda key=None, val=None, data=None: note("config", _plain_values(data or {key: val}))
        )
        self.summary = _Summary(lambda values: note("summary", _plain_values(values)))  # type: ignore[assignment]
        self._interface = None
        self._hpc_dl_files = files
        self._hpc_dl_step = step
        self._hpc_dl_record = record
        self._hpc_dl_say = say_once
        self._hpc_dl_other_steps = False
        self._hpc_dl_logged: tuple[int, set[str]] = (-1, set())

    @property
    def dir(self) -> str:
        """Where W&B's media types put their files."""
        return str(self._hpc_dl_files)

    def log(self, data: Mapping[str, Any], step: int | None = None, *_: Any, **__: Any) -> None:
        """Record a row; see ``wandb.Run.log``. ``commit`` is not needed: a step is one row."""
        now = self._hpc_dl_step()
        if step is not None and abs(step - now) > 1 and not self._hpc_dl_other_steps:
            self._hpc_dl_other_steps = True
            self._hpc_dl_say(
                f"W&B: step={step} of wandb.log is not used; rows belong to the training's global step ({now}). "
                "Log your own counter as a value."
            )
        self._warn_if_repeated(data, now)
        numbers = {name: number for name, value in data.items() if (number := _number(value)) is not None}
        others: dict[str, Any] = {}
        for name, value in data.items():
            if name not in numbers and value is not None:
                try:
                    others |= _plain_value(history_dict_to_json(self, {str(name): value}, step=now))
                except Exception as error:  # of a value's own methods, too: W&B does not end a training
                    self._hpc_dl_say(f"W&B: {name} is not recorded ({type(error).__name__}: {_first_line(error)})")
        self._hpc_dl_record({str(name): value for name, value in numbers.items()}, others, now)

    def _warn_if_repeated(self, data: Mapping[str, Any], step: int) -> None:
        last, names = self._hpc_dl_logged
        names = names if last == step else set()
        if repeated := sorted(names & data.keys()):
            self._hpc_dl_say(
                f"W&B: {repeated[0]} was logged more than once in a step by wandb.log; the last value counts."
            )
        self._hpc_dl_logged = (step, names | data.keys())

    def __getattr__(self, name: str) -> Any:
        """Say what to use instead of an attribute that a run does not have."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"self.logger.experiment has no {name}: it is a wandb.Run, whatever wandb.mode is; log numbers with "
            "self.log(name, value), all else with self.logger.experiment.log({name: wandb.Image(...)})"
        )

    def define_metric(self, *_: Any, **__: Any) -> wandb.sdk.wandb_metric.Metric:
        """Ignore it: the x-axis of all charts is the global step."""
        self._hpc_dl_say("W&B: define_metric is not used; the x-axis of all charts is trainer/global_step.")
        return wandb.sdk.wandb_metric.Metric("unused")

    def finish(self, *_: Any, **__: Any) -> None:
        """Ignore it: hpc_dl ends the run."""

    def mark_preempting(self) -> None:
        """Ignore it: hpc_dl says how the run ended."""

    def _continue(self, *_: Any, config: Any = None, **__: Any) -> RecordedRun:
        """Return this run: hpc_dl starts a single one, with the project and name of the YAML."""
        self._hpc_dl_say("W&B: wandb.init returns the run of hpc_dl, whose project and name are those of the YAML.")
        if config:
            values = config if isinstance(config, Mapping) else vars(config)
            self.config.update(dict(values), allow_val_change=True)  # type: ignore[no-untyped-call]
        return self

    @property
    def step(self) -> int:
        """The training's global step."""
        return self._hpc_dl_step()

    @property
    def url(self) -> str | None:
        """``None``: the page is known only once the server has the run."""
        return None

    def make_global(self) -> None:
        """Become the run of ``wandb.log`` and ``wandb.run``, also for a user's ``wandb.init``."""
        wandb.init = self._continue
        wandb.login = _login
        functions = {name: getattr(self, name) for name in (*_GLOBAL, "define_metric", "mark_preempting")}
        module.set_global(run=self, config=self.config, log=self.log, summary=self.summary, **functions)  # type: ignore[no-untyped-call]


class UnrecordedRun(RecordedRun):
    """The run of ranks other than 0, where calls to wandb do nothing, as in Lightning."""

    def __init__(self, say_once: Callable[[str], None]) -> None:
        """Create a run."""
        super().__init__("rank", "rank", "rank", Path(), lambda: 0, lambda *_: None, lambda *_: None, say_once)

    def log(self, *_: Any, **__: Any) -> None:
        """Ignore a row."""


class _Summary(dict[str, Any]):
    """``wandb.run.summary``, whose changes are recorded."""

    def __init__(self, note: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._note = note

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._note({name: value})

    def update(self, *values: Any, **named: Any) -> None:
        """Add several values."""
        for name, value in dict(*values, **named).items():
            self[name] = value


def end_globals() -> None:
    """Undo :meth:`RecordedRun.make_global`."""
    wandb.init, wandb.login = _INIT, _LOGIN
    module.unset_globals()  # type: ignore[no-untyped-call]


def _login(*_: Any, **__: Any) -> bool:
    """Do nothing: hpc_dl logs in by itself."""
    return True


def _number(value: Any) -> float | int | None:
    """The value as a number; ``None`` if it is not one."""
    if isinstance(value, int):
        return value
    try:
        if isinstance(value, Real):
            return float(value)
        size = value.numel() if hasattr(value, "numel") else getattr(value, "size", 0)
        return float(value.item()) if size == 1 and hasattr(value, "item") else None
    except Exception:  # a complex number, text in an array, a tensor without data
        return None


def _plain(value: Any) -> Any:
    """The value for JSON: arrays and tensors as lists, anything unknown as text."""
    try:
        return _plain_value(value)
    except Exception as error:  # of a value's own methods
        return f"not recorded ({type(error).__name__})"


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain_value(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (int, str)):
        return value
    return _plain_value(value.tolist()) if hasattr(value, "tolist") else str(value)


def _first_line(error: Exception) -> str:
    try:
        return next(iter(str(error).splitlines()), "")
    except Exception:  # the value in its message cannot be shown
        return ""


def _unsupported(name: str) -> Callable[..., Any]:
    def method(self: RecordedRun, *arguments: Any, **__: Any) -> None:
        if arguments and getattr(arguments[0], "type", None) == "run_table":
            return  # W&B's own artifact of a table, whose file is uploaded anyway
        self._hpc_dl_say(f"W&B: {name} does nothing in a run of hpc_dl; {_INSTEAD[name]}.")

    method.__name__ = name
    method.__doc__ = f"Say what to use instead of ``{name}``."
    return method


_GLOBAL = ("save", "use_artifact", "log_artifact", "alert", "watch", "unwatch", "log_model", "use_model", "link_model")
for _name in _INSTEAD:
    setattr(RecordedRun, _name, _unsupported(_name))
