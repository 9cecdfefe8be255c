"""HDF5 files as data sets: the format, its checks, splits, fields, and the reader of a split."""
