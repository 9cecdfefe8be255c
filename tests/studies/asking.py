"""``python -m tests.studies.asking FOLDER FIRST LAST``: ask for points, evaluate and tell them."""

import sys
import time
from pathlib import Path

from optuna.trial import BaseTrial

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import read_json
from hpc_dl.studies.study import Study, tpe

STALE_S = 2.0


def point(trial: BaseTrial) -> dict[str, float]:
    return {name: trial.suggest_float(name, -5, 5) for name in ("x", "y")}


def main() -> None:
    folder = Path(sys.argv[1])
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        mine = folder / f"point-{number}.json"
        study = Study(folder, "paraboloid", "min", tpe(number), stale_s=STALE_S)
        known = read_json(mine)
        asked = study.ask(number, point)
        assert known is None or known == asked, "a point that was chosen stays"
        write_json(mine, asked)
        time.sleep(0.02)
        study.tell({number: asked["x"] ** 2 + asked["y"] ** 2})


if __name__ == "__main__":
    main()
