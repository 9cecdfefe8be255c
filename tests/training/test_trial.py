"""One batch of each split through a user's own module, before its job is queued."""

import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.cluster.prepare import check
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.training import own_code
from tests import experiments

pytestmark = pytest.mark.usefixtures("user_modules")


def tried(file: Path, name: str, try_batches: bool = True, **sections: Any) -> list[str]:
    """What the check says about a class, by default of ``fails_in_steps``."""
    said: list[str] = []
    class_path = name if "." in name else f"fails_in_steps.{name}"
    content = experiments.raw(file, **{"model": {"class": class_path}, **sections})
    del content["optimizer"]
    others = set(psutil.Process().children())  # of earlier tests
    check(Experiment.from_dict(content), data_dir=None, say=said.append, try_batches=try_batches)
    assert not set(psutil.Process().children()) - others, "the child has ended"
    return said


@pytest.mark.parametrize(
    ("name", "message", "statement"),
    [
        ("Training", "AttributeError: 'Training' object has no attribute 'nett'",
         "return self.loss(batch) + self.nett(batch[0])"),
        ("Validation", "ValueError: not enough values to unpack (expected 3, got 2)",
         "_inputs, _targets, _weights = batch"),
        ("Test", "ZeroDivisionError: division by zero", 'self.log("test_acc", 1 / 0)'),
        ("Exits", "SystemExit: no reason", 'raise SystemExit("no reason")'),
    ],
)  # fmt: skip
def test_failing_step_is_named(image_file: Path, name: str, message: str, statement: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tried(image_file, name)
    line = str(caught.value)
    assert line.startswith(f"model.class: fails on its first batch: {message}, in ")
    assert "/fails_in_steps.py line " in line and f": `{statement}`" in line
    assert "\n" not in line


def test_schedule_that_monitors_an_unknown_metric_is_named(image_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"ReduceLROnPlateau conditioned on metric val_los which is not available"):
        tried(image_file, "Plateau")


def test_monitor_that_is_not_logged_is_named(image_file: Path) -> None:
    checkpoint = {"monitor": "val/loss"}
    with pytest.raises(ConfigError, match=r"^checkpoint.monitor: is not logged by Good \(got 'val/loss'; .*val_loss"):
        tried(image_file, "Good", checkpoint=checkpoint)


def test_good_module_is_tried_in_silence(image_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tried(image_file, "Good") == []
    assert capfd.readouterr() == ("", "")


def test_trial_is_limited_in_time(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "LIMIT_S", 1.0)
    (said,) = tried(image_file, "Sleeps")
    assert re.fullmatch(
        r"fails_in_steps\.Sleeps: the trial was stopped: one batch of each split takes more than 1 s on this CPU, "
        r"in /.*/fails_in_steps\.py line \d+: `time\.sleep\(100\)`",
        said,
    )


def test_trial_is_limited_in_memory(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "LIMIT_BYTES", 128 << 20)
    assert tried(image_file, "Large") == [
        "fails_in_steps.Large: the trial was stopped: a batch takes more than 128 MiB of memory"
    ]


def test_trial_that_is_killed_is_reported(image_file: Path) -> None:
    assert tried(image_file, "Killed") == ["fails_in_steps.Killed: the trial was killed, perhaps for lack of memory"]


@pytest.mark.parametrize(
    ("name", "problem", "statement"),
    [
        ("ends_in_import.Crashes", r"crashes \(SIGSEGV\) while it is imported and built", r"ctypes\.string_at\(0\)"),
        ("fails_in_init.Crashes", r"crashes \(SIGABRT\) while it is imported and built", r"os\.abort\(\)"),
        ("fails_in_init.Ends", r"ends the process with status 0 while it is imported and built", r"os\._exit\(0\)"),
        ("fails_in_init.Interrupts", r"fails while it is .*: KeyboardInterrupt", r"raise KeyboardInterrupt"),
        ("fails_in_init.Hangs", r"takes more than 1 s to import and build", r"time\.sleep\(0\.1\)"),
        ("fails_in_init.Asks", r"fails_in_init\.Asks raised EOFError: .*", r"self\.width = input\(\)"),
        ("fails_in_steps.Crashes", r"crashes \(SIGSEGV\) on its first batch", r"ctypes\.string_at\(0\)"),
        ("fails_in_steps.ReturnsText", r"fails on its first batch: MisconfigurationE.*", r"def training_step\(.*"),
    ],
)
def test_code_that_ends_the_process_or_never_returns_is_named(
    image_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str, statement: str
) -> None:
    if name.endswith("Hangs"):
        monkeypatch.setattr(own_code, "LIMIT_S", 1.0)
    with pytest.raises(ConfigError) as caught:
        tried(image_file, name)
    file = name.partition(".")[0]
    assert re.match(rf"model\.\w+: {problem}, in /.*/{file}\.py line \d+: `{statement}`", str(caught.value))
    assert "\n" not in str(caught.value)


def test_slow_code_is_only_reported_where_nothing_is_tried(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "LIMIT_S", 1.0)
    (said,) = tried(image_file, "fails_in_init.Hangs", try_batches=False)
    assert said.startswith("fails_in_init.Hangs: not checked, since it takes more than 1 s to import and build, in ")


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("NoLoss", r"NoLoss\.training_step returned no loss for its first batch, which trains nothing"),
        ("NanInValidation", r"NanInValidation logs val_loss = nan in its first validation"),
    ],
)
def test_likely_mistake_is_remarked(image_file: Path, name: str, remark: str) -> None:
    (said,) = tried(image_file, name)
    assert re.fullmatch(rf"{remark}, in /.*/fails_in_steps\.py line \d+: `def \w+_step\(.*`", said)


@pytest.mark.slow
def test_network_is_tried(image_file: Path) -> None:
    layers = [{"class": "torch.nn.Flatten"}, {"class": "torch.nn.Linear", "args": [64, 3]}]
    assert tried(image_file, "", model={"network": "torch.nn.Sequential", "args": layers}) == []
    bad = [layers[0], {"class": "torch.nn.Linear", "args": [65, 3]}]
    with pytest.raises(ConfigError, match=r"^model.network: raised RuntimeError for inputs of shape \(2, 1, 8, 8\)"):
        tried(image_file, "", model={"network": "torch.nn.Sequential", "args": bad})
    wide = [layers[0], {"class": "torch.nn.Linear", "args": [64, 5]}]
    with pytest.raises(ConfigError, match=r"returns outputs of shape \(2, 5\), and the task .* needs \(2, 3\)"):
        tried(image_file, "", model={"network": "torch.nn.Sequential", "args": wide})
