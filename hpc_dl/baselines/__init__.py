"""Baselines: simple models on the same splits and metrics, to see whether a network is needed."""
