"""A module whose import crashes; tests/training/test_trial.py."""

import ctypes

ctypes.string_at(0)
