"""The training of a run on one rank: preflight, Trainer, callbacks, diagnosis, result."""
