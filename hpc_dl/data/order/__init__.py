"""The order in which samples are read: shuffling, ranks, balanced classes."""
