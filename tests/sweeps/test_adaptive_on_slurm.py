"""Sweeps that choose points while they run, as job arrays on a real Slurm."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hpc_dl.config import yaml
from hpc_dl.studies.trial_file import JOURNAL
from hpc_dl.sweeps.folder import SweepFolder
from tests.cluster.conftest import Desk, command, desk, digits_folder, slurm_desk, wait_until

__all__ = ["command", "desk", "digits_folder", "slurm_desk"]
pytestmark = pytest.mark.slurm

ENDED = {"finished", "failed", "pruned", "stopped", "lost"}


@pytest.mark.parametrize("method", ["tpe", "asha"])
def test_tasks_choose_their_points_and_the_study_knows_all_results(slurm_desk: Desk, method: str) -> None:
    content = yaml.load(slurm_desk.folder / "tiny.yaml")
    content["trainer"]["max_epochs"] = 3
    parameters = {"optimizer.lr": {"log_uniform": [1e-3, 1e-1]}}
    section = {"method": method, "parameters": parameters, "trials": 2, "per_task": 2, "side_by_side": method == "tpe"}
    content["sweep"] = section | ({"reduction_factor": 2} if method == "asha" else {})
    (slurm_desk.folder / "adaptive.yaml").write_text(yaml.dumps(content))
    (array,) = slurm_desk.json("sweep", "adaptive.yaml", "name=tiny")["submissions"]
    assert array["job_id"]

    def states() -> set[str]:
        return {row["state"] for row in slurm_desk.json("status", "tiny-sweep")}

    wait_until(lambda: states() <= ENDED, "all members have ended", 200)
    assert states() <= ({"finished"} if method == "tpe" else {"finished", "pruned"})
    sweep = SweepFolder(slurm_desk.runs / "tiny-sweep")
    points = [facts["point"] for facts in sweep.members().values()]
    assert len({point["optimizer.lr"] for point in points}) == 2

    def recorded() -> list[str]:
        storage = JournalStorage(JournalFileBackend(str(sweep.path / JOURNAL)))
        (name,) = optuna.get_all_study_names(storage)
        return [trial.state.name for trial in optuna.load_study(study_name=name, storage=storage).trials]

    wait_until(lambda: set(recorded()) <= {"COMPLETE", "PRUNED"}, "the study knows all results", 60)
    assert len(recorded()) == 2
