"""What Slurm says about a job, and what that means for its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpc_dl.cluster import slurm_sentences

#: Our name for the state of a job whose id the controller does not know (anymore).
FORGOTTEN = "FORGOTTEN"
_USUAL = ("RUNNING", "COMPLETING", "CONFIGURING")


@dataclass(frozen=True)
class JobInfo:
    """The state of a job according to Slurm.

    Attributes:
        state: Slurm's state (``PENDING``, ``RUNNING``, ``TIMEOUT``, …), or :data:`FORGOTTEN`.
        reason: Slurm's reason, unchanged; empty if there is none.
    """

    state: str
    reason: str = ""

    @property
    def kind(self) -> Literal["waiting", "alive", "ended", "unclear"]:
        """What the state means; unclear if this is not certain, or if the state is unknown."""
        if self.state == FORGOTTEN:
            return "ended"
        states = [slurm_sentences.states().get(name) for name in self.state.split(",")]
        kinds = {state.kind if state else None for state in states}
        if None not in kinds:
            for kind in ("waiting", "alive", "unclear", "ended"):
                if kind in kinds:
                    return kind
        return "unclear"

    @property
    def waits(self) -> bool:
        """Whether it has not started."""
        return self.kind == "waiting"

    @property
    def alive(self) -> bool:
        """Whether it is running, starting or ending."""
        return self.kind == "alive"

    @property
    def ending(self) -> bool:
        """Whether it has ended, or Slurm is ending it."""
        return self.kind == "ended" or "COMPLETING" in self.state

    @property
    def explanation(self) -> str:
        """The reason why it waits, or the meaning of its state, with Slurm's own term."""
        if self.state == FORGOTTEN:
            return "Slurm no longer knows the job, so it has ended; see its log"
        if self.waits and (self.reason or self.state == "PENDING"):
            return self._reason_for_waiting()
        if self.state in _USUAL:
            return ""
        means = "; ".join(s.means for name in self.state.split(",") if (s := slurm_sentences.states().get(name)))
        if self.kind == "ended":
            return f"Slurm reports {self.state}: {means or 'see its log'}"
        if self.kind == "unclear":
            means = means or "hpc_dl does not know this state"
            means += "; it counts neither as ended nor as running until Slurm says so; see `scontrol show job`"
        return f"Slurm says {self.state}: {means}"

    def _reason_for_waiting(self) -> str:
        if not self.reason:
            return slurm_sentences.states()["PENDING"].means
        sentence = slurm_sentences.reason_for_waiting(self.reason)
        if sentence is None:
            return self.reason
        never = "; it will never start" if sentence.starts == "never" else ""
        remedy = f"; {sentence.remedy}" if sentence.remedy else ""
        return f"{sentence.means} ({self.reason}){never}{remedy}"
