"""A genuine Slurm on one Debian or Ubuntu machine: the code behind the command `cluster`.

It uses the standard library only, so that it runs before anything is installed.
"""
