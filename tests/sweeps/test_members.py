"""The members of a sweep and the signature that recognizes them."""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import member_name
from hpc_dl.sweeps.members import Member, members_of
from tests import experiments

LR = {"optimizer.lr": {"values": [0.1, 0.01]}}


def members(image_file: Path, sweep: dict[str, Any] | None = None, **sections: Any) -> list[Member]:
    config = parse(SweepConfig, sweep or {"parameters": LR}, "sweep")
    return members_of(experiments.raw(image_file, **sections), "tiny", config)


def signature(image_file: Path, **sections: Any) -> str:
    return members(image_file, **sections)[0].signature("data", "code")


def test_repeats_have_consecutive_seeds(image_file: Path) -> None:
    repeated = members(image_file, {"parameters": LR, "repeats": 3}, seed=7)
    assert [(member.point["optimizer.lr"], member.seed) for member in repeated] == [
        (lr, seed) for lr in (0.1, 0.01) for seed in (7, 8, 9)
    ]
    assert [member.experiment.seed for member in repeated[:3]] == [7, 8, 9]
    assert [member.experiment.optimizer.lr for member in repeated[::3]] == [0.1, 0.01]


def test_members_draw_no_figures(image_file: Path) -> None:
    drawing = members(image_file, trainer={"max_epochs": 1, "figures": True})
    assert [member.experiment.trainer.figures for member in drawing] == [False, False]


def test_another_architecture_drops_the_settings_of_the_former(image_file: Path) -> None:
    both = members(
        image_file,
        {"parameters": {"model.width": {"values": [8], "when": {"model.name": "mlp"}},
                        "model.name": {"values": ["mlp", "linear"]}}},
        model={"name": "mlp", "width": 99},
    )  # fmt: skip
    assert [member.experiment.model.name for member in both] == ["mlp", "linear"]
    assert both[0].experiment.to_dict()["model"]["width"] == 8


def test_signature_ignores_what_does_not_change_the_result(image_file: Path) -> None:
    base = signature(image_file)
    assert base == signature(image_file, name="other", wandb={"project": "p", "tags": ["a"]})
    assert base == signature(image_file, resources={"time": 7, "memory": "3G"})


@pytest.mark.parametrize(
    "sections",
    [{"seed": 1}, {"model": {"name": "mlp"}}, {"trainer": {"max_epochs": 2}}, {"data": {"batch_size": 4}},
     {"resources": {"nodes": 2}}],
)  # fmt: skip
def test_signature_depends_on_what_changes_the_result(image_file: Path, sections: dict[str, Any]) -> None:
    if "data" in sections:
        sections = {"data": {"file": str(image_file), **sections["data"]}}
    assert signature(image_file, **sections) != signature(image_file)


def test_signature_depends_on_data_and_code(image_file: Path) -> None:
    member = members(image_file)[0]
    signatures = {member.signature(data, code) for data in ("a", "b") for code in ("", "c")}
    assert len(signatures) == 4


def test_invalid_members_are_named_by_their_settings(image_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr \(with optimizer\.lr=-1\): must be") as caught:
        members(image_file, {"parameters": {"optimizer.lr": {"values": [0.1, -1]}}})
    assert len(caught.value.faults) == 1


def test_names_grow_where_signatures_begin_alike() -> None:
    first = member_name("a", "abcdef0123", set())
    assert (first, member_name("a", "abcdef0999", {first})) == ("a-abcdef", "a-abcdef0")
