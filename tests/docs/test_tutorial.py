"""The tutorial works as written: its files are created, its commands run one after another."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

TUTORIAL = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
FILES = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', TUTORIAL, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
]


@pytest.mark.own_target
@pytest.mark.slow
def test_every_command_of_the_tutorial_succeeds(tmp_path: Path) -> None:
    assert len(FILES) == 2 and len(COMMANDS) > 12
    for name, text in FILES:
        (tmp_path / name).write_text(text, encoding="utf-8")
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}"}
    for command in COMMANDS:
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    runs = {path.parent.name.rpartition("-")[0] for path in (tmp_path / "runs").glob("*/config.yaml")}
    assert runs == {"rhythm", "rhythm-wide"}
