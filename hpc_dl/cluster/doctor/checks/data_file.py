"""The data file of the experiment: is it there, and can it be read?"""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.data import sources
from hpc_dl.data.open_spec import open_untested_spec


class DataFile(Check):
    """Opens it as a training does, with its filters."""

    needs_experiment = True

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one for each fault of the file."""
        assert situation.experiment is not None
        source = situation.experiment.data.source
        if source in sources.names() and not sources.path_of(source, situation.data_dir).exists():
            why = "Compute nodes often have no network, so it is created when you submit"
            yield Finding(
                f"the data set {source} is not there yet", why, f"run `hpc-dl data make {source}`", fatal=False
            )
            return
        open_untested_spec(situation.experiment.data, situation.data_dir)  # raises its faults
