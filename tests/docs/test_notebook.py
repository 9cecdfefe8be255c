"""The example notebook runs from its first cell to its last."""

from pathlib import Path

import pytest

from tests.conftest import PROJECT

NOTEBOOK = PROJECT / "docs" / "how-to" / "python.ipynb"


@pytest.mark.slow  # trains three times
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    for name in ("HPC_DL_RUNS", "HPC_DL_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPC_DL_SITE", "local")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    tables = [output["data"]["text/html"] for output in printed if "text/html" in output.get("data", {})]
    assert any("optimizer.lr" in table and "finished" in table for table in tables)
