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
WIDTH = 104
# A command, and how many of its last lines are shown; None for all.
COMMANDS = (
    ("hpc-dl init my-project", None),
    ("cd my-project", None),
    ("hpc-dl submit experiment.yaml --site local --wait", 14),
    ("hpc-dl train experiment.yaml name=wide model.args.width=256", 3),
    ("hpc-dl status", None),
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
        for command, most in COMMANDS:
            screen.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            if command.startswith("cd "):
                here /= command.removeprefix("cd ")
                continue
            done = subprocess.run(
                command.split(), cwd=here, env=environment, text=True, timeout=300, check=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            lines = done.stdout.replace(folder, "~").rstrip().splitlines()
            if most is not None and len(lines) > most:
                lines = ["…", *lines[-most:]]
            screen.print(Text("\n".join(line.rstrip() for line in lines)), soft_wrap=True)
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(screen.export_svg(title="hpc_dl"), encoding="utf-8")


if __name__ == "__main__":
    main()
