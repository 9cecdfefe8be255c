"""The speed of shuffled batches from HDF5, compared with limits, usual scripts and other formats.

``python -m benchmarks.reading`` writes benchmarks/reading.json and a section of
docs/reference/benchmarks.md.
"""
