"""``hpc-dl validate``: all checks that are possible before a job waits in the queue."""

from __future__ import annotations

from hpc_dl.cli.arguments import AsJson, Config, DataDir, NoTry, Overrides, Site


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
    from hpc_dl.cli.output import emit, say, table
    from hpc_dl.compatibility.checks import check_versions

    check_versions()
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.prepare import check
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.training.training_length import batches_per_epoch, total_steps

    experiment = Experiment.load(config, overrides or [], say)
    profile = sites.load(site)
    profile.check(experiment)
    _, spec, parameters = check(experiment, data_dir=data or profile.data(), say=say, try_batches=not no_try)
    resources = experiment.resources
    facts = {
        "name": experiment.name,
        "model": experiment.model.name,
        "parameters": parameters,
        "data": spec.file,
        "task": spec.task,
        "input_shape": list(spec.input_shape) if spec.inputs else None,
        "num_outputs": spec.num_outputs,
        "sizes": spec.sizes,
        "ranks": resources.world_size,
        "global_batch_size": experiment.batch_size_per_device * resources.world_size,
        "batches_per_epoch": batches_per_epoch(experiment, spec),
        "total_steps": total_steps(experiment, spec),
    }
    if as_json:
        emit(facts)
    else:
        table(["property", "value"], [[key, str(value)] for key, value in facts.items()], title=f"{config}: valid")
