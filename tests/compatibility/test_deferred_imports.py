"""``scipy.signal`` is imported at its first use only, and is then complete."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

START = """
import sys
from hpc_dl.compatibility.deferred_imports import defer_scipy_signal
defer_scipy_signal()
import torchmetrics
assert not any(name.startswith("scipy.signal.") for name in sys.modules)
"""


@pytest.mark.parametrize(
    "use",
    [
        "from scipy.signal import butter",
        "import scipy.signal\nscipy.signal.butter",
        "from scipy import signal\nsignal.butter",
        "import scipy.signal as signal\nsignal.windows.hamming",
    ],
)
def test_deferred_module_is_imported_at_its_first_use(use: str) -> None:
    end = 'assert "butter" in vars(sys.modules["scipy.signal"])\nimport scipy\nassert vars(scipy)["signal"].butter'
    code = f"{START}{use}\n{end}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_imported_module_stays() -> None:
    code = (
        "import sys, scipy.signal as real\n"
        "from hpc_dl.compatibility.deferred_imports import defer_scipy_signal\n"
        "defer_scipy_signal()\n"
        "assert sys.modules['scipy.signal'] is real\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
