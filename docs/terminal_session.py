"""Record the terminal session of the README: run real commands, write docs/assets/session.svg.

``python docs/terminal_session.py``, in an environment where ``hpc-dl`` is installed.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGE = Path(__file__).parent / "assets" / "session.svg"
WIDTH = 96
# A command, and how many of its first and of its last lines are shown.
COMMANDS = (
    ("hpc-dl init my-project", 4, 0),
    ("cd my-project", 0, 0),
    ("hpc-dl submit experiment.yaml --site local --wait", 0, 13),
    ("hpc-dl train experiment.yaml name=wide model.args.width=256", 0, 4),
    ("hpc-dl results", 12, 0),
)


def main() -> None:
    """Run the commands in a new folder and write the picture."""
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "COLUMNS": str(WIDTH),
        "WANDB_MODE": "disabled",
    }
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for command, first, last in COMMANDS:
            screen.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            if command.startswith("cd "):
                here /= command.removeprefix("cd ")
                continue
            done = subprocess.run(
                command.split(), cwd=here, env=environment, text=True, timeout=300, check=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            text = done.stdout.replace(folder, "~")
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) > first + last:
                lines = [*lines[:first], "…", *lines[len(lines) - last :]]
            screen.print(Text("\n".join(line.rstrip() for line in lines)), soft_wrap=True)
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(screen.export_svg(title="hpc_dl"), encoding="utf-8")


if __name__ == "__main__":
    main()
