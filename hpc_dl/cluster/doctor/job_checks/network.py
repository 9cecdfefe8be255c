"""Whether the nodes reach W&B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, places

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_TIMEOUT_S = 10.0


class Network(JobCheck):
    """Asks the server for its page, through a proxy if the environment names one."""

    why = "The run is not in the browser while it trains; nothing is lost"
    remedy = (
        "run `hpc-dl sync RUN` on the login node afterwards, or set `https_proxy` under `environment` in the profile"
    )
    once_per_node = True

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the address, and why it cannot be reached; only rank 0 reports to W&B."""
        from hpc_dl.tracking.wandb_mode import resolve_mode

        if rank.rank or resolve_mode(rank.experiment.wandb)[0] != "online":
            return {}
        import requests

        from hpc_dl.tracking.wandb_account import account

        url = account().url
        try:
            requests.get(url, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            return {"url": url, "problem": type(error).__name__}
        return {"url": url, "problem": ""}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one if it cannot be reached."""
        for each in measured:
            if problem := each.values["problem"]:
                what = f"{places([each])}: {each.values['url']} cannot be reached ({problem})"
                yield Finding(what, self.why, self.remedy, fatal=False)
