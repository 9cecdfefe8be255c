"""From rows of a file to batches of tensors: loaders, reading ahead, a user's transform in worker
processes.
"""
