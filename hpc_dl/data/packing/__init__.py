"""``hpc-dl data pack``: converts data of common formats to a fast-to-read file of our own format.

``source.py`` defines what a source offers, ``open_source.py`` finds the right one. There is one
module per format: ``hdf5.py``, ``arrays.py``, ``images.py``, ``nifti.py``, ``csv_table.py``,
``parquet_table.py``. ``split_assignment.py`` assigns the samples to splits, ``writers.py`` stores
them so that a killed run can resume, ``pack.py`` runs all steps.
"""
