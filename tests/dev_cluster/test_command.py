"""The command runs before anything is installed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.dev_cluster.conftest import COMMAND


def test_command_needs_neither_packages_nor_its_own_folder(tmp_path: Path) -> None:
    # -I: no PYTHONPATH, no current folder; -S: no site-packages.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(COMMAND), "status"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HPC_DL_DEV_CLUSTER": f"/tmp/no-cluster-{os.getpid()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert "creates one" in done.stdout
