"""Recording of metrics: the journal, which is a run's own record, and W&B, which displays it."""
