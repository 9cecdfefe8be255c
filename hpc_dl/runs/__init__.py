"""The run folder: every path spelled once, state, provenance, snapshot of the code."""
