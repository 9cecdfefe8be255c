"""Pack FILE into OUT and measure it without importing torch."""

import sys

from hpc_dl.cli.main import app
from hpc_dl.data.packing import pack, read_speed

FILE, OUT = sys.argv[1:]
read_speed._SECONDS = pack.SPEED_SECONDS = 0.01
app(["data", "pack", FILE, OUT], standalone_mode=False)
app(["data", "bench", OUT], standalone_mode=False)
assert "torch" not in sys.modules
