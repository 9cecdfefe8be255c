"""The stable Python interface: names that ``import hpc_dl`` offers without importing torch."""

import subprocess
import sys

import pytest

import hpc_dl


@pytest.mark.parametrize("name", [name for name in hpc_dl.__all__ if name != "__version__"])
def test_public_name_leads_to_its_definition(name: str) -> None:
    assert getattr(hpc_dl, name).__name__ == name
    assert getattr(hpc_dl, name).__doc__


def test_every_lazy_name_is_public() -> None:
    assert set(hpc_dl.__all__) == {*hpc_dl._MODULES, "__version__"}
    assert set(dir(hpc_dl)) == set(hpc_dl.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Experimet'"):
        hpc_dl.Experimet  # noqa: B018


def test_import_is_light() -> None:
    code = "import sys, hpc_dl; print(sorted({'torch', 'h5py', 'numpy', 'pydantic', 'wandb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
