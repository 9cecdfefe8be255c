"""``hpc-dl models``."""

import re
from typing import Any

import pytest

from hpc_dl import models
from tests.cli.conftest import HpcDl


@pytest.mark.slow
def test_list_of_architectures(hpc_dl: HpcDl) -> None:
    status, out, err = hpc_dl("models")
    assert (status, err) == (0, "")
    for name in models.names():
        assert any(line.split(maxsplit=1) == [name, models.summary(name)] for line in map(str.strip, out.splitlines()))
    assert hpc_dl("models", "--json").json == [{"name": n, "summary": models.summary(n)} for n in models.names()]


def test_parameters_of_an_architecture(hpc_dl: HpcDl) -> None:
    status, out, err = hpc_dl("models", "cnn")
    assert (status, err) == (0, "")
    assert out.startswith(f"cnn: {models.summary('cnn')}\n")
    (line,) = [line for line in out.splitlines() if line.startswith("kernel_size")]
    assert re.split(r" {2,}", line.strip())[:4] == ["kernel_size", "integer", "3", "pixels"]
    document = hpc_dl("models", "cnn", "--json").json
    assert (document["name"], document["summary"]) == ("cnn", models.summary("cnn"))
    by_name = {row["parameter"]: row for row in document["parameters"]}
    assert by_name["channels"] == {
        "parameter": "channels",
        "type": "list of integer",
        "default": [32, 64],
        "unit": "feature maps per block",
        "meaning": "Feature maps of each block; the length of the list is the number of blocks.",
    }
    assert by_name["activation"]["type"].startswith("none | ") and "leaky_relu | " in by_name["activation"]["type"]
    assert by_name["norm"]["default"] == "batch"


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_parameters_have_meanings_and_valid_defaults(hpc_dl: HpcDl, name: str) -> None:
    parameters = hpc_dl("models", name, "--json").json["parameters"]
    assert all(row["meaning"].endswith(".") for row in parameters)
    defaults: dict[str, Any] = {}
    for row in parameters:
        *subsections, key = row["parameter"].split(".")
        values = defaults
        for subsection in subsections:
            values = values.setdefault(subsection, {})
        values[key] = row["default"]
    section = models.config_class(name)
    assert section.model_validate({"name": name, **defaults}) == section(name=name)
