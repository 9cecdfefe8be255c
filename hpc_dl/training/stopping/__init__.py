"""Stopping and resuming: signals, checkpoints, early stopping, the watchdog."""
