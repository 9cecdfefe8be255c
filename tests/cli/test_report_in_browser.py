"""The page of ``hpc-dl report`` in a browser: it draws its plots under its own security policy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import HpcDl
from tests.cli.test_report import HOSTILE, trained

pytestmark = pytest.mark.slow
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_command_imports_neither_torch_nor_matplotlib(hpc_dl: HpcDl) -> None:
    trained(0, 0.1, 0.9)
    trained(0, 0.2, 0.8)
    code = "from hpc_dl.cli.main import main\ntry:\n    main()\nfinally:\n"
    code += "    print({'torch', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['hpc-dl', 'report']\n{code}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_page_draws_its_plots_without_errors(hpc_dl: HpcDl, tmp_path: Path) -> None:
    for seed, lr in ((0, 0.01), (1, 0.01), (0, 0.1), (1, 0.1)):
        trained(seed, lr, 0.9 - lr - seed / 100)
    trained(0, 0.5, 0.2, name=HOSTILE.partition(" </")[0])
    assert hpc_dl("report").status == 0
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *flags, profile, "--dump-dom", Path("report.html").absolute().as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    number = done.stdout.count('<figure class="plot ')
    assert number >= 2 and f'data-ready="{number}"' in done.stdout and done.stdout.count("<svg") == number
    assert "<th aria-sort" not in done.stdout and "Sort by this column" in done.stdout
