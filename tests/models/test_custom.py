"""User-defined LightningModules, imported from the current folder."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.schema import parse
from tests.experiments import spec, training_recipe

MODULES = Path(__file__).with_name("modules")

Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Copy a module as ``nets.py`` of a package in the current folder, named anew in each test."""
    monkeypatch.chdir(tmp_path)
    before_path, before = list(sys.path), set(sys.modules)
    name = f"userpackage_{abs(hash(tmp_path))}"

    def copy(file: str = "nets.py") -> str:
        (tmp_path / name).mkdir()
        shutil.copy(MODULES / file, tmp_path / name / "nets.py")
        return f"{name}.nets"

    yield copy
    sys.path[:] = before_path
    for module in set(sys.modules) - before:
        if module.startswith(name):
            del sys.modules[module]


def custom(class_path: str, **args: object) -> CustomModelConfig:
    return parse(CustomModelConfig, {"class": class_path, "args": args}, "model")


def error_of(config: CustomModelConfig) -> str:
    data = spec()
    with pytest.raises(HpcDlError) as caught:
        config.build(data, training_recipe(data))
    return str(caught.value)


def test_arguments_and_data_are_passed(package: Package) -> None:
    module, data = package(), spec()
    model = custom(f"{module}.Net", width=3).build(data, training_recipe(data))
    assert type(model).__module__ == module
    assert (model.data, model.width, model.depth) == (data, 3, 1)
    assert type(custom(f"{module}.NoData").build(data, training_recipe(data))).__name__ == "NoData"


def test_data_argument_of_the_user_is_kept(package: Package) -> None:
    data = spec()
    assert custom(f"{package()}.Own", data="mine").build(data, training_recipe(data)).data == "mine"


def test_unknown_class_suggests_the_nearest(package: Package) -> None:
    module = package()
    assert error_of(custom(f"{module}.Nett")) == (
        f"model.class: is not a LightningModule of {module} (got '{module}.Nett'; allowed: Net, NoData, Own, Raises). "
        "Did you mean 'Net'?"
    )


@pytest.mark.parametrize("name", ["Plain", "function", "torch"])
def test_other_objects_raise(package: Package, name: str) -> None:
    module = package()
    assert error_of(custom(f"{module}.{name}")).startswith(
        f"model.class: is not a LightningModule of {module} (got '{module}.{name}'; allowed: Net, NoData, Own, Raises)"
    )


def test_module_without_lightning_modules() -> None:
    assert error_of(custom("pathlib.Path")) == (
        "model.class: is not a LightningModule of pathlib (got 'pathlib.Path'; allowed: the module defines none)"
    )


@pytest.mark.parametrize(
    ("file", "message", "remedy"),
    [
        (
            "imports_a_missing_package.py",
            "ModuleNotFoundError: No module named 'no_such_thing'",
            "Install no_such_thing in the environment of hpc-dl",
        ),
        (
            "imports_lightning.py",
            "ModuleNotFoundError: No module named 'lightning'",
            "Import pytorch_lightning instead, which hpc_dl trains with",
        ),
        (
            "divides_by_zero.py",
            "ZeroDivisionError: division by zero",
            "Correct it; `python -c 'import {module}'` shows",
        ),
        ("syntax_error.txt", "SyntaxError: ", "Correct it; `python -c 'import {module}'` shows"),
        ("ends_python.py", "SystemExit: bye", "Correct it; `python -c 'import {module}'` shows"),
    ],
)
def test_import_errors_raise(package: Package, file: str, message: str, remedy: str) -> None:
    module = package(file)
    line = error_of(custom(f"{module}.Net"))
    assert line.startswith(f"model.class: cannot import {module}: {message}")
    assert f"). {remedy.format(module=module)}" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "missing a required argument: 'width' (got {}; allowed: data, width, depth)"),
        (
            {"width": 1, "dept": 2},
            "got an unexpected keyword argument 'dept' (got {'width': 1, 'dept': 2}; allowed: data, width, depth)",
        ),
    ],
)
def test_invalid_arguments_raise(package: Package, args: dict[str, int], message: str) -> None:
    module = package()
    assert error_of(custom(f"{module}.Net", **args)) == f"model.args: do not fit {module}.Net: {message}"


def test_exception_in_init_names_the_line(package: Package) -> None:
    module = package()
    line = (MODULES / "nets.py").read_text().splitlines().index('        raise ValueError(f"width {width} is odd")') + 1
    assert error_of(custom(f"{module}.Raises", width=3)) == (
        f"model.args: {module}.Raises raised ValueError: width 3 is odd, "
        f"in {sys.modules[module].__file__} line {line}: "
        '`raise ValueError(f"width {width} is odd")` '
        "(got {'width': 3})"
    )


@pytest.mark.parametrize("path", ["Net", "", "a..Net", "a/b.Net", "a.Net()", "1a.Net", ".Net"])
def test_invalid_import_path_raises(path: str) -> None:
    with pytest.raises(ConfigError, match="must be an import path such as my_package"):
        custom(path)
