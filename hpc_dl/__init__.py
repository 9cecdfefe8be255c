"""hpc_dl: a YAML file becomes a deep-learning training job on a Slurm cluster."""

__version__ = "0.1.0"
