"""``python -m tests.runs.slow_checkpoint_writer FOLDER``: write a checkpoint in small pieces."""

import sys
import time
from pathlib import Path
from typing import Any

from hpc_dl.runs import checkpoints
from tests.runs.checkpoint_files import archive


def slowly(file: Any) -> None:
    content = archive("new", 4000)
    for start in range(0, len(content), 500):
        file.write(content[start : start + 500])
        file._file.flush()
        time.sleep(0.05)


if __name__ == "__main__":
    checkpoints.write(Path(sys.argv[1]), "step", 9, slowly)
