"""``hpc_dl.Experiment``: a YAML file that can be submitted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hpc_dl.config import experiment
from hpc_dl.errors import ConfigError

if TYPE_CHECKING:
    from hpc_dl.api.run import Run
    from hpc_dl.api.sweep import Sweep
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.sweeps.preparation import Plan

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment(experiment.Experiment):
    """An experiment: everything that determines a training and its resources.

    ::

        experiment = Experiment.load("configs/cnn-digits.yaml", "optimizer.lr=1e-3")
        run = experiment.submit()

    Attributes:
        written: the YAML as written, without defaults, with its section ``sweep``.
    """

    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_dict(cls, raw: Any, default_name: str | None = None) -> Self:
        """Build the experiment from a mapping as in a YAML file.

        Args:
            raw: the mapping.
            default_name: the name of an experiment that does not give one.

        Raises:
            ConfigError: with all faults, each at its dotted path.
        """
        return replace(super().from_dict(raw, default_name), written=dict(raw))

    def submit(
        self,
        *,
        site: str | SiteProfile | None = None,
        runs: str | Path | None = None,
        data: str | Path | None = None,
        after: Sequence[Run] = (),
        try_batches: bool = True,
        say: Say = print,
    ) -> Run:
        """Submit the experiment to Slurm, or without Slurm to the background of this machine.

        Args:
            site: the site profile: a name, a file, or as loaded; default: ``$HPC_DL_SITE``.
            runs: folder of all runs; default: the site's, ``$HPC_DL_RUNS`` or ``./runs``.
            data: folder of the data files; default: the site's, ``$HPC_DL_DATA`` or ``./data``.
            after: runs that must have finished before this one starts.
            try_batches: whether to run batches through a user's own module or network first.
            say: gets messages for the user, one line each.

        Returns:
            The run.

        Raises:
            HpcDlError: the experiment, the data or the model have faults, or Slurm refuses the job;
                no run folder is left then.
        """
        from hpc_dl.api.run import Run
        from hpc_dl.cluster import signal_lead
        from hpc_dl.cluster.dependency import unfinished
        from hpc_dl.cluster.folders import data_folder, runs_folder
        from hpc_dl.cluster.prepare import prepare
        from hpc_dl.cluster.right_sizing import memory_for, request_warning
        from hpc_dl.cluster.submit import check_site, submit_run, uses_slurm
        from hpc_dl.runs.predecessors import record, waits_for

        profile = check_site(site, self, say)
        earlier = unfinished([run.folder for run in after])
        runs_dir, data_dir = runs_folder(_path(runs), profile), data_folder(_path(data), profile)
        if not uses_slurm(profile):
            local = profile.scheduler == "local"
            reason = "The site profile has `scheduler: local`" if local else "This machine has no Slurm (no sbatch)"
            say(f"{reason}: the run starts in the background of this machine.")
        resources, explanation = memory_for(self.resources, [runs_dir], self.name)
        if explanation:
            say(explanation)
        sized = replace(self, resources=resources)
        profile.check(sized)
        run = prepare(sized, runs=runs_dir, data_dir=data_dir, command=sys.argv, say=say, try_batches=try_batches)
        if warning := request_warning(resources, [runs_dir], self.name):
            say(f"hpc-dl: {warning}")
        if warning := signal_lead.time_limit_warning(
            self.resources.minutes, signal_lead.required_lead_s(runs_dir, self.name)
        ):
            say(f"hpc-dl: {warning}")
        if earlier:
            record(run, earlier)
            say(f"The run {waits_for(run)}.")
        submit_run(run, sized, profile, data_dir)
        return Run(run)

    def sweep(
        self,
        *,
        site: str | SiteProfile | None = None,
        runs: str | Path | None = None,
        data: str | Path | None = None,
        force: bool = False,
        reuse: bool = False,
        try_batches: bool = True,
        say: Say = print,
        **section: Any,
    ) -> Sweep:
        """Run the experiment with many settings; the same call with more runs only what is new.

        Args:
            site: as for :meth:`submit`.
            runs: as for :meth:`submit`.
            data: as for :meth:`submit`.
            force: whether to rerun members that already have a run.
            reuse: whether finished runs outside of the sweep that equal new members take their
                place, as copies.
            try_batches: as for :meth:`submit`.
            say: as for :meth:`submit`.
            section: keys of the section ``sweep``, which replace those of the YAML:
                ``parameters={"optimizer.lr": {"values": [1e-3, 1e-2]}}, repeats=3``.

        Returns:
            The sweep.

        Raises:
            HpcDlError: the section or a member has faults, or Slurm refuses the job array.
        """
        from hpc_dl.api.sweep import Sweep
        from hpc_dl.cluster.folders import data_folder, runs_folder
        from hpc_dl.cluster.submit import check_site
        from hpc_dl.sweeps.reuse import reusable
        from hpc_dl.sweeps.start import start

        profile = check_site(site, self, say)
        plan = self.plan_sweep(profile, runs=runs, data=data, force=force, try_batches=try_batches, say=say, **section)
        if reuse and not force:
            plan = replace(plan, reused=reusable(plan, runs_folder(_path(runs), profile)))
        if remedy := start(plan, profile, data_folder(_path(data), profile)).remedy:
            say(f"hpc-dl: {remedy}")
        return Sweep(plan.sweep)

    def plan_sweep(
        self,
        site: SiteProfile,
        *,
        runs: str | Path | None = None,
        data: str | Path | None = None,
        force: bool = False,
        try_batches: bool = True,
        say: Say = print,
        **section: Any,
    ) -> Plan:
        """Check all members of a sweep, and find those that are new; the arguments as for sweep."""
        from hpc_dl.cluster.folders import data_folder, runs_folder
        from hpc_dl.schema import parse
        from hpc_dl.sweeps.config import SweepConfig
        from hpc_dl.sweeps.preparation import plan

        raw = self._as_written()
        written = raw.pop("sweep", None) or {}
        if not isinstance(written, Mapping):
            parse(SweepConfig, written, "sweep")  # reports what a section may be
        section = {**written, **section}
        if not section:
            raise ConfigError.at(self.name, "has no `sweep` section", remedy="add one; see docs/how-to/sweeps.md")
        return plan(
            raw,
            self.name,
            parse(SweepConfig, section, "sweep"),
            runs=runs_folder(_path(runs), site),
            data_dir=data_folder(_path(data), site),
            say=say,
            try_batches=try_batches,
            force=force,
        )

    def _as_written(self) -> dict[str, Any]:
        """The mapping without defaults; with them where the experiment was changed in Python."""
        unchanged = self.written and self.from_dict(self.written, self.name) == self
        return dict(self.written) if unchanged else self.to_dict() | {"sweep": self.written.get("sweep")}


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
