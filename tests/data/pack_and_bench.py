"""Pack and measure a file without torch, run by test_cli.py; arguments: the file and the output."""

import sys

from hpc_dl.cli.main import app
from hpc_dl.data.packing import pack
from hpc_dl.data.read_speed import benchmark


def main() -> None:
    source, packed = sys.argv[1:]
    benchmark._SECONDS = pack.SPEED_SECONDS = 0.01
    app(["data", "pack", source, packed], standalone_mode=False)
    app(["data", "bench", packed], standalone_mode=False)
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main()
