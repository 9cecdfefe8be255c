"""Write docs/configuration.md from the sections' own docstrings: ``make docs``. A test holds the
file to the code.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpc_dl import models
from hpc_dl.cli.models import describe, parameters_of
from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.config.resources import Resources
from hpc_dl.config.trainer import EarlyStopping, TrainerConfig
from hpc_dl.data.config import Augmentation, DataConfig, SplitFractions, SplitGroups, SplitIndices, Splits, Windows
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.metrics import METRICS
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.schema import Section
from hpc_dl.tracking.config import WandbConfig

PAGE = Path(__file__).with_name("reference") / "configuration.md"

HEAD = """# The configuration

*Made by `make docs` from the code; edit the docstrings there, not this file.*

One YAML file is one experiment. Every section but `data` and `model` may be left out. Keys are strict: an unknown key,
a wrong type or an impossible combination is refused before anything is submitted, all faults at once. Values on the
command line go over the file's: `hpc-dl train configs/cnn-digits.yaml optimizer.lr=3e-4 model.channels=[16,32]`.
The YAML is version 1.2: `1e-3` is a number, `12:30:00` and `no` are words. What a *site* needs (partition, account,
modules, scratch folders, container) is not here but in a [site profile](../how-to/sites.md).

## Top level

| key | meaning |
| --- | --- |
| `name` | name of the experiment, part of the run folder's name; by default the YAML file's |
| `seed` | fixes initial weights, sample order and dropout; 0 by default |
| `metrics` | what validation and test are judged by: a list of [names](#metrics); by default the task's usual ones |
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    parts += _section("data", DataConfig)
    parts += _section("data.splits", Splits, "One of:")
    parts += _section("data.splits.fractions", SplitFractions)
    parts += _section("data.splits.indices", SplitIndices)
    parts += _section("data.splits.groups", SplitGroups)
    parts += _section("data.windows", Windows)
    parts += _section("data.augmentation", Augmentation)
    parts.append("## model\n\n`name` is one of the following, with its own parameters (also: `hpc-dl models NAME`).\n")
    for name in models.names():
        parts += _section(f"model: {{name: {name}}}", models.config_class(name), models.summary(name), level=3)
    parts.append(
        "### model: {class: package.module.Class}\n\nA LightningModule of your own, with `args: {…}` for `__init__`. "
        "A parameter called `data` gets the shapes and classes of the data (`hpc_dl.data.spec.DataSpec`). It brings "
        "its own loss and optimizer: the sections `loss`, `optimizer` and `schedule` do not apply.\n"
    )
    parts += _section("loss", LossConfig)
    parts.append("## metrics\n\nNames that fit each task (`data.task`).\n")
    parts += [f"- {task}: {', '.join(f'`{name}`' for name in known)}" for task, known in METRICS.items() if known]
    own = {name: models.config_class(name).metrics for name in models.names()}
    parts += [f"- of {name} itself: {', '.join(f'`{n}`' for n in known)}" for name, known in own.items() if known]
    parts.append("")
    parts.append("## optimizer\n\n`adam` when left out.\n")
    for name, optimizer in OPTIMIZERS.items():
        parts += _section(f"optimizer: {{name: {name}}}", optimizer, _first_line(optimizer), level=3)
    parts.append("## schedule\n\n`constant` when left out. All schedules but `plateau` count optimizer steps.\n")
    for name, schedule in SCHEDULES.items():
        parts += _section(f"schedule: {{name: {name}}}", schedule, _first_line(schedule), level=3)
    parts += _section("trainer", TrainerConfig)
    parts += _section("trainer.early_stopping", EarlyStopping)
    parts += _section("checkpoint", CheckpointConfig)
    parts += _section("resources", Resources)
    parts += _section("wandb", WandbConfig)
    return "\n".join(parts)


def _section(title: str, section: type[Section], lead: str = "", level: int = 2) -> Iterable[str]:
    yield f"{'#' * level} {title}\n\n{_cell(lead or _first_line(section))}\n"
    rows = [
        f"| `{row['parameter']}` | {_cell(row['type'])} | {_cell(_default(row['default']))} | {_cell(row['unit'])} "
        f"| {_cell(row['meaning'])} |"
        for row in (parameters_of(section) if title.startswith("model") else describe(section))
        if row["parameter"] != "name" or "name:" not in title
    ]
    yield "\n".join(["| key | type | default | unit | meaning |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"


def _default(value: object) -> str:
    return "see below" if isinstance(value, Section) else "none" if value is None else str(value)


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").partition("\n")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
