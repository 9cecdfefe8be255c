"""The settings in which runs differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.config import yaml
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.settings import differing, settings_of, shown


def run(folder: Path, name: str, **sections: Any) -> RunFolder:
    created = RunFolder.create(folder, name)
    content = {"name": name, "seed": 0, "model": {"name": "mlp", "width": 8}, "optimizer": {"name": "sgd", "lr": 0.1}}
    created.config.write_text(yaml.dumps(content | sections))
    return created


def differing_settings(runs: Sequence[RunFolder]) -> dict[str, list[Any]]:
    """The values of each run, as tables show them, by the settings that differ."""
    settings = [settings_of(run) for run in runs]
    return {key: [values.get(key) for values in shown(settings)] for key in differing(settings)}


def test_only_shared_settings_that_differ_are_listed(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "a", resources={"nodes": 1}),
        run(tmp_path, "b", optimizer={"name": "sgd", "lr": 0.2}, resources={"nodes": 2}),
        run(tmp_path, "c", seed=1, optimizer={"name": "adam", "lr": 0.1, "beta1": 0.9}),
    ]
    assert differing_settings(runs) == {
        "seed": [0, 0, 1], "optimizer.name": ["sgd", "sgd", "adam"], "optimizer.lr": [0.1, 0.2, 0.1],
    }  # fmt: skip
    assert differing_settings(runs[:1]) == {}


def test_models_are_compared_by_name_and_class(tmp_path: Path) -> None:
    own = run(tmp_path, "b", model={"class": "pkg.mine.Net", "args": {"width": 8}})
    assert differing_settings([run(tmp_path, "a"), own]) == {"model": ["mlp", "Net"]}


def test_files_are_shown_by_name(tmp_path: Path) -> None:
    runs = [run(tmp_path, "a", data={"file": f"/scratch/{name}.h5"}) for name in "xy"]
    assert differing_settings(runs) == {"data.file": ["x.h5", "y.h5"]}


def test_files_of_the_same_name_are_shown_with_their_folders(tmp_path: Path) -> None:
    files = [f"/runs/{name}/best.ckpt" for name in "xy"]
    runs = [run(tmp_path, "a", model={"name": "mlp", "init_from": file}) for file in files]
    assert differing_settings(runs) == {"model.init_from": files}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a: [", b"- 1\n", b"17\n", b"name: x\nname: y\n", None])
def test_unreadable_configuration_is_not_compared(tmp_path: Path, content: bytes | None) -> None:
    damaged = run(tmp_path, "damaged")
    if content is None:
        damaged.config.unlink()
        damaged.config.mkdir()
    else:
        damaged.config.write_bytes(content)
    runs = [run(tmp_path, "a"), damaged, run(tmp_path, "b", seed=5)]
    assert differing_settings(runs) == {"seed": [0, None, 5]}
    assert settings_of(damaged) == {}


def test_sections_may_contain_blank_lines_and_text(tmp_path: Path) -> None:
    written = run(tmp_path, "a", data={"file": "x.h5", "note": "two\n\nlines\nof text: 1"}, wandb={"tags": ["a b"]})
    assert settings_of(written)["data.note"] == "two\n\nlines\nof text: 1"
