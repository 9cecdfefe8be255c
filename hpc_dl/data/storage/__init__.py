"""Where the bytes of a dataset lie in its file, and how they become rows again, without asking HDF5
a second time.
"""
