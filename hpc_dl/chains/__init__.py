"""Chains: runs that follow each other, such as training, evaluation and export."""
