"""Tests of hpc_dl.baselines."""
