"""What a run tells: the journal, which is its own record, and W&B, which shows it."""
