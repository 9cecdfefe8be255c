"""``python -m tests.cluster.command_without_torch STATUS ARGUMENTS``: run hpc-dl without torch."""

import sys

from hpc_dl.cli.main import main

SLOW_IMPORTS = {"torch", "pytorch_lightning", "submitit", "wandb"}

if __name__ == "__main__":
    expected = int(sys.argv.pop(1))
    try:
        main()
    except SystemExit as end:
        assert int(end.code or 0) == expected, f"exit status {end.code}"
    assert not SLOW_IMPORTS & sys.modules.keys(), SLOW_IMPORTS & sys.modules.keys()
