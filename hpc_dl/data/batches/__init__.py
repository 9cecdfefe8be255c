"""Batches of tensors from rows of a file.

Contains the loaders, the choice between them, reading ahead, and a user's transform in worker
processes.
"""
