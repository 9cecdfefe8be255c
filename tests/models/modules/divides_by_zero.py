"""Raises an exception while it is imported."""

x = 1 / 0
