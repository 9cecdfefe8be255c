"""Whether every node can read the data file, and how fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank
from hpc_dl.errors import HpcDlError
from hpc_dl.formatting import megabytes

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_SECONDS = 2.0
_MUCH_SLOWER = 3.0
_LEAST_BYTES = 16 << 20  # a smaller file says nothing about the speed


class DataReading(JobCheck):
    """Opens the file as a training does, and reads its beginning."""

    why = "Ranks on a node that cannot read the data fail, and all ranks wait for the slowest node"
    remedy = "use a file system that all nodes share: `data_dir` in the site profile, or `--data`"
    once_per_node = True

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return bytes per second, from the disk unless the file cannot be evicted from memory.

        Small files are only opened.
        """
        from hpc_dl.data.open_spec import open_spec
        from hpc_dl.data.read_speed.machine import disk_speed, read_speed

        if rank.experiment.data.file is None:
            return {}
        path = Path(rank.experiment.data.file)
        with path.open("rb"):  # for the message of the system, in a container, too
            pass
        try:
            open_spec(rank.experiment.data)
        except HpcDlError as error:
            raise OSError(str(error)) from None
        if path.stat().st_size < _LEAST_BYTES:
            return {}
        speed = disk_speed(path, _SECONDS)
        return {"bytes_per_s": speed or read_speed(path, _SECONDS), "from_disk": speed is not None}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each node that is much slower than the fastest."""
        fastest = max(measured, key=lambda each: each.values["bytes_per_s"])
        for each in measured:
            speed, best = each.values["bytes_per_s"], fastest.values["bytes_per_s"]
            if speed * _MUCH_SLOWER < best and each.values["from_disk"] == fastest.values["from_disk"]:
                what = f"{each.node} reads the data with {megabytes(speed)}/s, {fastest.node} with {megabytes(best)}/s"
                remedy = "repeat this; if it is the same node, report it to your site and add `exclude` to `sbatch`"
                yield Finding(what, self.why, f"{remedy} in the site profile", fatal=False)

    def summary(self, measured: Sequence[Measured]) -> str:
        """Return the speed of the slowest node."""
        slowest = min(measured, key=lambda each: each.values["bytes_per_s"])
        where = "" if slowest.values["from_disk"] else " from memory"
        return f"{megabytes(slowest.values['bytes_per_s'])}/s{where} on {slowest.node}, the slowest node"
