"""The command line in this process, as for the other tests of commands."""

from tests.cli.conftest import config, hpc_dl, image_file

__all__ = ["config", "hpc_dl", "image_file"]
