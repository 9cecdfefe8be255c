"""Where the bytes of a dataset are stored in its file, and how they become rows.

HDF5 is queried once for the layout; after that most datasets are read without it.
"""
