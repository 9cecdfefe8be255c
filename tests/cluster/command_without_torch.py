"""Run the commands of hpc-dl in the JSON on stdin, one after another, without torch
and matplotlib.

Input: a list of ``[arguments, expected exit status]``. Output: a list with the messages of each.
"""

import contextlib
import io
import json
import sys

from hpc_dl.cli.main import main

SLOW_IMPORTS = {"torch", "pytorch_lightning", "submitit", "wandb", "matplotlib._version"}


def run(arguments: list[str], expected: int) -> str:
    """Run one command; return what it printed."""
    sys.argv = ["hpc-dl", *arguments]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as end:
            assert int(end.code or 0) == expected, f"{arguments}: exit status {end.code}\n{output.getvalue()}"
    assert not SLOW_IMPORTS & sys.modules.keys(), (arguments, SLOW_IMPORTS & sys.modules.keys())
    return output.getvalue()


if __name__ == "__main__":
    print(json.dumps([run(arguments, expected) for arguments, expected in json.load(sys.stdin)]))
