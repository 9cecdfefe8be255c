"""Other packages: their tested versions, the private names that hpc_dl uses, and checks of both.

Each private name is looked up before a training starts. Where one is missing, the training is
refused in one line, or uses Lightning's own step where only
:mod:`hpc_dl.training.lightning.plain_step` needs the name. Commands on a login node compare the
installed versions only, without importing the packages. See docs/decisions/042-private-names.md.
"""
