"""Sweeps: many runs of one experiment with different settings, submitted as one job array."""
