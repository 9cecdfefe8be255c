"""From a run folder to a trained network: preflight, Trainer, callbacks, the training of one rank."""
