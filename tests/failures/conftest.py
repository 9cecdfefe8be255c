"""The fixtures of the tests that submit runs."""

from tests.cluster.conftest import command, desk, digits_folder, slurm_desk  # noqa: F401
