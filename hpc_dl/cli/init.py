"""``hpc-dl init``: create a user's own project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TEMPLATE = Path(__file__).parents[1] / "project_template"
# Paths in the comments of the sbatch template, and what they are in the project.
_PATHS = {
    "slurm/train.sbatch": "train.sbatch",
    "configs/cnn-digits.yaml": "experiment.yaml",
    "configs/cnn-fashion_mnist.yaml": "experiment.yaml",
}
_NEXT = """\
Next:
{cd}  hpc-dl validate experiment.yaml
  hpc-dl train experiment.yaml
On a cluster, on the login node:
  hpc-dl site init
  hpc-dl submit experiment.yaml"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder; it may exist.")] = Path("."),
) -> None:
    """Create a project: experiment, model with test, site profile.

    The experiment trains at once, on a data set that comes with hpc_dl. Existing files are never
    overwritten: if one of the same name exists, nothing is written.

    Example:
        hpc-dl init my-project
    """
    from hpc_dl.cli.output import say

    files = create_project(folder)
    say(f"Created in {folder.absolute()}:")
    for name in files:
        say(f"  {name}")
    say(_NEXT.format(cd=f"  cd {folder}\n" if folder.absolute() != Path.cwd() else ""))


def create_project(folder: Path) -> list[str]:
    """Write the files of a new project.

    Args:
        folder: where; it is created when it is missing.

    Returns:
        The names of the files.

    Raises:
        ConfigError: a file of one of these names exists, or the folder cannot be written to.
    """
    from hpc_dl import shipped
    from hpc_dl.atomic_files import write_text
    from hpc_dl.errors import ConfigError

    sources = {
        "experiment.yaml": _TEMPLATE / "experiment.yaml",
        "my_model.py": _TEMPLATE / "my_model.py",
        "test_my_model.py": _TEMPLATE / "test_my_model.py",
        "site.yaml": shipped.path("slurm/sites/example.yaml"),
        "train.sbatch": shipped.path("slurm/train.sbatch"),
        "README.md": _TEMPLATE / "README.md",
        ".gitignore": _TEMPLATE / "gitignore",
    }
    texts = {name: source.read_text(encoding="utf-8") for name, source in sources.items()}
    for shipped_path, own_path in _PATHS.items():
        texts["train.sbatch"] = texts["train.sbatch"].replace(shipped_path, own_path)
    if existing := [name for name in texts if (folder / name).exists() or (folder / name).is_symlink()]:
        raise ConfigError.at(
            folder, f"already contains {', '.join(existing)}", remedy="choose another folder: hpc-dl init DIR"
        )
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / name, text)
            written.append(folder / name)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ConfigError.at(
            folder, f"cannot be written to: {error.strerror}", remedy="choose a folder that you can write to"
        ) from None
    return list(texts)
