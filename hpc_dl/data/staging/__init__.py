"""Copies of data files in the scratch space or memory of a node, for ``data.stage``."""
