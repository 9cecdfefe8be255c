"""Slurm and the processes of this machine: site profiles, submitting, launching ranks, asking for
states.
"""
