"""A node failed, or Slurm could not start the job on it."""

from __future__ import annotations

from hpc_dl.failures.rule import Order, Rule


class NodeFailure(Rule):
    """Slurm's state, and what srun and slurmstepd say."""

    order = Order.ENDING
    patterns = (
        r"^State=(?:NODE_FAIL|BOOT_FAIL)\b.*?(?:NodeList=(?P<node>\S+))?$",
        r"DUE TO NODE FAILURE",
        r"[Nn]ode failure on (?P<node>\S+)",
        r"Task launch for \S+ failed on node (?P<node>[^:]+):",
        r"srun: error: .*(?:Communication connection failure|Unable to confirm allocation)",
        r"[Pp]rolog .*(?:failed|error)|Prolog hung",
        r"launch failed requeued held",
    )
    sources = ("slurm", "output")
    cause = "a node failed, or could not start the job ({node})"
    remedy = (
        "resume the run; if the same node fails again, leave it out with `sbatch: {{exclude: NODE}}` "
        "in the site profile, and report it to the administrators"
    )
    keys = ("sbatch",)
