"""The commands of ``hpc-dl``.

Only this package prints and exits. Command modules import heavy libraries inside their functions,
so that ``--help`` and shell completion start fast.
"""
