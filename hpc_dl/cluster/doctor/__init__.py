"""Checks of this login node and of one experiment, before a job waits in the queue."""
