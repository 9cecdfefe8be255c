"""Invalid configurations: each is refused with exit status 2 and one line for each fault.

The configurations and their messages are in bad_configs.yaml.
"""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl import models
from hpc_dl.config import yaml
from hpc_dl.data import sources
from hpc_dl.data.spec import TASKS
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LOSSES
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.nn.activations import ACTIVATIONS
from tests import experiments
from tests.config.conftest import Validate

TABLE = yaml.load(Path(__file__).with_name("bad_configs.yaml"))
TEXTS = {
    **TABLE["texts"],
    "models": ", ".join(models.names()),
    "sources": ", ".join(sources.names()),
    "tasks": ", ".join(TASKS),
    "activations": ", ".join(ACTIVATIONS),
    "losses": ", ".join(["auto", *LOSSES]),
    "classification_losses": ", ".join(COMPATIBLE_LOSSES["classification"]),
    "optimizers": ", ".join(OPTIMIZERS),
    "schedules": ", ".join(SCHEDULES),
}
CASES = [
    pytest.param(case["config"], case.get("messages") or [case["message"]], id=f"{group}: {case['config']}"[:80])
    for group, cases in TABLE["cases"].items()
    for case in cases
]


def complete(message: str, image_file: Path) -> str:
    """Replace the names in braces by their texts."""
    for name, text in {**TEXTS, "file": str(image_file)}.items():
        message = message.replace(f"{{{name}}}", text)
    return f"hpc-dl: {message}"


@pytest.mark.parametrize(("sections", "messages"), CASES)
def test_bad_config_is_refused(
    sections: dict[str, Any], messages: list[str], validate: Validate, image_file: Path
) -> None:
    expected = [complete(message, image_file) for message in messages]
    assert validate(experiments.raw(image_file, **sections)) == (2, expected)


def test_config_without_the_bad_sections_is_valid(validate: Validate, image_file: Path) -> None:
    assert validate(experiments.raw(image_file)) == (0, [])


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("- a\n", [], "the experiment: must be a mapping of sections (got ['a']; allowed: {sections})"),
        ("just text\n", [], "the experiment: must be a mapping of sections (got 'just text'; allowed: {sections})"),
        ("seed: 1\nname: a\nseed: 2\n", [], 'bad.yaml, line 3: duplicate key "seed". Keep one of the two'),
        ("a: [1", [], "bad.yaml, line 1, column 6: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed: 1\n", ["lr"], "lr: is not an override (allowed: key=value, for example optimizer.lr=1e-3)"),
        ("seed: 1\n", ["seed.x=3"], "seed.x: seed is not a section (got 1)"),
    ],
)
def test_bad_yaml_or_override_is_refused(
    text: str, overrides: list[str], message: str, validate: Validate, image_file: Path
) -> None:
    assert validate(text, *overrides) == (2, [complete(message, image_file)])


def test_empty_file_lacks_data_and_model(validate: Validate) -> None:
    status, lines = validate("")
    assert status == 2
    assert [line.split(" (")[0] for line in lines] == [
        "hpc-dl: data: set exactly one of `source`",
        "hpc-dl: model.name: is required",
    ]


def test_model_or_loss_that_does_not_fit_the_data_is_refused(validate: Validate, value_file: Path) -> None:
    content = experiments.raw(value_file, model={"name": "cnn"}, loss={"name": "cross_entropy"})
    assert validate(content) == (
        2,
        [
            f"hpc-dl: loss.name: does not fit the task regression (data.task) of {value_file} "
            f"(got 'cross_entropy'; allowed: {', '.join(COMPATIBLE_LOSSES['regression'])})"
        ],
    )
    assert validate(experiments.raw(value_file, model={"name": "cnn"})) == (
        2,
        [
            f"hpc-dl: model.name: does not support inputs of kind vector (inputs (5,)), which {value_file} contains "
            "(got 'cnn'; allowed: inputs of the kinds series, image, volume). "
            "Choose another architecture; `hpc-dl models NAME` shows the supported inputs"
        ],
    )


def test_misplaced_secret_is_not_printed(validate: Validate, image_file: Path) -> None:
    _, lines = validate(experiments.raw(image_file, wandb={"api_key": "0123456789abcdef"}))
    assert "0123456789abcdef" not in "\n".join(lines)


def test_control_characters_are_escaped(validate: Validate, image_file: Path) -> None:
    _, lines = validate(experiments.raw(image_file, **{"\x1b[31m": {}, "name": "\x1b[2J"}))
    assert [line.split(" (")[0] for line in lines] == [
        "hpc-dl: \\x1b[31m: unknown key",
        "hpc-dl: name: cannot be used as a folder name",
    ]
    assert all(line.isprintable() for line in lines)
