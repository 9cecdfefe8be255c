"""The study of an adaptive sweep: which points were tried, and what came of them (Optuna)."""
