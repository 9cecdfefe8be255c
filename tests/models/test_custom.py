"""A LightningModule of the user's own, found by its import path in the folder where hpc-dl was
started."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.schema import parse
from tests.experiments import spec, training_recipe

NETS = """
import pytorch_lightning as pl
import torch

class Net(pl.LightningModule):
    def __init__(self, data, width, depth=1):
        super().__init__()
        self.data, self.width, self.depth = data, width, depth

class NoData(pl.LightningModule):
    pass

class Own(pl.LightningModule):
    def __init__(self, data):
        super().__init__()
        self.data = data

class Raises(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        raise ValueError(f"width {width} is odd")

class Plain:
    pass

def function():
    pass
"""

Package = Callable[[str], str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Writes ``nets.py`` of a package with a name of its own for each test, in the current folder."""
    monkeypatch.chdir(tmp_path)
    before_path, before = list(sys.path), set(sys.modules)
    name = f"userpackage_{abs(hash(tmp_path))}"

    def write(source: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "nets.py").write_text(source)
        return f"{name}.nets"

    yield write
    sys.path[:] = before_path
    for module in set(sys.modules) - before:
        if module.startswith(name):
            del sys.modules[module]


def custom(class_path: str, **args: object) -> CustomModelConfig:
    return parse(CustomModelConfig, {"class": class_path, "args": args}, "model")


def told_by(config: CustomModelConfig) -> str:
    data = spec()
    with pytest.raises(HpcDlError) as caught:
        config.build(data, training_recipe(data))
    return str(caught.value)


def test_it_gets_its_arguments_and_the_shapes_of_the_data(package: Package) -> None:
    module, data = package(NETS), spec()
    model = custom(f"{module}.Net", width=3).build(data, training_recipe(data))
    assert type(model).__module__ == module
    assert (model.data, model.width, model.depth) == (data, 3, 1)
    assert type(custom(f"{module}.NoData").build(data, training_recipe(data))).__name__ == "NoData"


def test_an_argument_called_data_that_the_user_gives_is_the_users(package: Package) -> None:
    data = spec()
    assert custom(f"{package(NETS)}.Own", data="mine").build(data, training_recipe(data)).data == "mine"


def test_a_class_that_is_not_there_is_told_with_the_nearest(package: Package) -> None:
    module = package(NETS)
    assert told_by(custom(f"{module}.Nett")) == (
        f"model.class: is not a LightningModule of {module} (got '{module}.Nett'; allowed: Net, NoData, Own, Raises). "
        "Did you mean 'Net'?"
    )


@pytest.mark.parametrize("name", ["Plain", "function", "torch"])
def test_something_else_than_a_lightning_module(package: Package, name: str) -> None:
    module = package(NETS)
    assert told_by(custom(f"{module}.{name}")).startswith(
        f"model.class: is not a LightningModule of {module} (got '{module}.{name}'; allowed: Net, NoData, Own, Raises)"
    )


def test_a_module_without_any() -> None:
    assert told_by(custom("pathlib.Path")) == (
        "model.class: is not a LightningModule of pathlib (got 'pathlib.Path'; allowed: the module defines none)"
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "SyntaxError: "),
    ],
)
def test_a_module_that_cannot_be_imported(package: Package, source: str, told: str) -> None:
    module = package(source)
    line = told_by(custom(f"{module}.Net"))
    assert line.startswith(f"model.class: cannot import {module}: {told}")
    assert line.endswith("Start hpc-dl in the folder that holds your package, or install it")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "missing a required argument: 'width' (got {}; allowed: data, width, depth)"),
        (
            {"width": 1, "dept": 2},
            "got an unexpected keyword argument 'dept' (got {'width': 1, 'dept': 2}; allowed: data, width, depth)",
        ),
    ],
)
def test_arguments_that_do_not_fit(package: Package, args: dict[str, int], told: str) -> None:
    module = package(NETS)
    assert told_by(custom(f"{module}.Net", **args)) == f"model.args: do not fit {module}.Net: {told}"


def test_what_its_init_raises_is_told_with_the_line(package: Package) -> None:
    module = package(NETS)
    line = NETS.splitlines().index('        raise ValueError(f"width {width} is odd")') + 1
    assert told_by(custom(f"{module}.Raises", width=3)) == (
        f"model.args: {module}.Raises raised ValueError: width 3 is odd, in {sys.modules[module].__file__} line {line} "
        "(got {'width': 3})"
    )


@pytest.mark.parametrize("path", ["Net", "", "a..Net", "a/b.Net", "a.Net()", "1a.Net", ".Net"])
def test_what_is_no_import_path(path: str) -> None:
    with pytest.raises(ConfigError, match="must be an import path such as my_package"):
        custom(path)
