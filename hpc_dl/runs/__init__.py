"""Everything about a run folder: its paths, state, history, checkpoints, lock and provenance."""
