"""Checks of this login node and of one experiment, before a job waits in the queue.

With ``hpc-dl doctor --job`` a short job on the requested shape measures the compute nodes:
``job.py`` submits it, ``rank_process.py`` measures in each rank, ``job_checks/`` judge.
"""
