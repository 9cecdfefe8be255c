"""``hpc-dl data pack``: data of any usual kind becomes a file of our own format.

``source.py`` says what a kind of source has to offer; one file each for the kinds: ``hdf5.py``,
``arrays.py``, ``images.py``, ``nifti.py``, ``csv_table.py``, ``parquet_table.py``. ``splits.py``
deals the samples to the splits, ``writers.py`` stores them so that a killed run goes on,
``pack.py`` leads.
"""
