"""The cost of a training step in addition to the network's: a loop by hand, Lightning, hpc_dl.

``python -m benchmarks.step`` writes benchmarks/step.json and a section of
docs/reference/benchmarks.md.
"""
