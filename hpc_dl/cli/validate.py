"""``hpc-dl validate``: all checks that are possible before a job waits in the queue."""

from __future__ import annotations

from typing import Any

from hpc_dl.cli.arguments import AsJson, Config, DataDir, NoTry, Overrides, Site

_MOST_CLASSES = 100  # listed
_OF_DATA = ("data", "task", "num_outputs", "classes", "sizes", "global_batch_size", "batches_per_epoch", "total_steps")


def validate(
    config: Config,
    overrides: Overrides = None,
    site: Site = None,
    data: DataDir = None,
    no_try: NoTry = False,
    as_json: AsJson = False,
) -> None:
    """Check an experiment before it is submitted.

    Checks the YAML, the data file, the model on the shapes of the data, and the limits of the site.
    Makes the data file of a shipped source if it does not exist. Your own module or network gets
    one batch of each split, on the CPU, for at most 30 seconds and 800 MiB; a fault names the file
    and line of your code.

    Example:
        hpc-dl validate configs/cnn-digits.yaml optimizer.lr=1e-3

    Exit status:
        0  valid
        2  invalid input; each fault is one line
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, table
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.submit import check_paths_and_modules
    from hpc_dl.compatibility.checks import check_versions

    check_versions()
    profile = sites.load(site)
    runs_dir, data_dir = runs_folder(None, profile), data_folder(data, profile)
    experiment = load_experiment(config, overrides, announce=False)
    profile.check(experiment)
    check_paths_and_modules(profile, say)
    from hpc_dl.cluster.prepare import check
    from hpc_dl.training.model_building import field_of_view
    from hpc_dl.training.training_length import batches_per_epoch, total_steps

    _, spec, parameters = check(experiment, data_dir=data_dir, say=say, runs=runs_dir, try_batches=not no_try)
    resources = experiment.resources
    facts: dict[str, Any] = {
        "name": experiment.name,
        "model": experiment.model.title,
        "parameters": parameters,
        "data": spec.file,
        "task": spec.task,
        "input_shape": list(spec.input_shape) if spec.inputs else None,
        "receptive_field": field_of_view(experiment, spec),
        "num_outputs": spec.num_outputs,
        "classes": list(spec.class_names[:_MOST_CLASSES]),
        "sizes": spec.sizes,
        "ranks": resources.world_size,
        "global_batch_size": experiment.batch_size_per_device * resources.world_size,
        "batches_per_epoch": batches_per_epoch(experiment, spec),
        "total_steps": total_steps(experiment, spec),
        "notes": list(spec.notes),
    }
    if not spec.file:  # what a module's own loaders give is only known when it trains
        facts |= dict.fromkeys(_OF_DATA)
    if as_json:
        emit(facts)
    else:
        del facts["notes"]  # `check` has printed them
        rows = [[key.replace("_", " "), _plain(value)] for key, value in facts.items() if value not in (None, "", [])]
        table(["property", "value"], rows, title=f"{config}: valid")


def _plain(value: Any) -> str:
    """For people: ``9 train, 3 val`` for sizes, ``8 × 8`` for shapes, ``a, b`` for names."""
    if isinstance(value, dict):
        return ", ".join(f"{_plain(item)} {key}" for key, item in value.items())
    if isinstance(value, list):
        names = all(isinstance(item, str) for item in value)
        return (", " if names else " × ").join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
