"""``hpc-dl models``."""

import re
from typing import Any

import pytest

from hpc_dl import models
from tests.cli.conftest import HpcDl


def test_the_list(hpc_dl: HpcDl) -> None:
    status, out, err = hpc_dl("models")
    assert (status, err) == (0, "")
    for name in models.names():
        assert any(line.split(maxsplit=1) == [name, models.summary(name)] for line in map(str.strip, out.splitlines()))
    assert hpc_dl("models", "--json").json == [{"name": n, "summary": models.summary(n)} for n in models.names()]


def test_the_parameters_of_one(hpc_dl: HpcDl) -> None:
    status, out, err = hpc_dl("models", "cnn")
    assert (status, err) == (0, "")
    assert out.startswith(f"cnn: {models.summary('cnn')}\n")
    (line,) = [line for line in out.splitlines() if line.startswith("kernel_size")]
    assert re.split(r" {2,}", line.strip())[:4] == ["kernel_size", "integer", "3", "pixels"]
    answer = hpc_dl("models", "cnn", "--json").json
    assert (answer["name"], answer["summary"]) == ("cnn", models.summary("cnn"))
    by_name = {row["parameter"]: row for row in answer["parameters"]}
    assert by_name["channels"] == {
        "parameter": "channels",
        "type": "list of integer",
        "default": [32, 64],
        "unit": "feature maps per block",
        "meaning": "Feature maps of each block; the length of the list is the number of blocks.",
    }
    assert by_name["activation"]["type"].startswith("none | ") and "leaky_relu | " in by_name["activation"]["type"]
    assert by_name["norm"]["default"] == "batch"


@pytest.mark.parametrize("name", models.names())
def test_every_parameter_has_a_meaning_and_is_accepted(hpc_dl: HpcDl, name: str) -> None:
    answer = hpc_dl("models", name, "--json").json
    assert all(row["meaning"].endswith(".") for row in answer["parameters"])
    defaults: dict[str, Any] = {}
    for row in answer["parameters"]:
        *sections, key = row["parameter"].split(".")
        inner = defaults
        for name_of_section in sections:
            inner = inner.setdefault(name_of_section, {})
        inner[key] = row["default"]
    section = models.config_class(name)
    assert section.model_validate({"name": name, **defaults}) == section(name=name)
