"""Whether the run will appear in W&B while it trains."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation


class WandbAccount(Check):
    """The mode that the experiment asks for against the one that is possible."""

    needs_experiment = True

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one if there are no credentials."""
        assert situation.experiment is not None
        from hpc_dl.tracking.wandb_mode import resolve_mode

        mode, reason = resolve_mode(situation.experiment.wandb)
        if mode == "offline" and situation.experiment.wandb.mode != "offline":
            remedy = "export WANDB_API_KEY, or run `hpc-dl sync RUN` afterwards"
            yield Finding(
                f"W&B is offline: {reason}", "The run is not in the browser while it trains", remedy, fatal=False
            )
