"""Ends Python while it is imported."""

raise SystemExit("bye")
