"""``hpc-dl data pack``: converts data of common formats to a fast-to-read file of our own format.

``source.py`` defines what a source offers. ``formats/`` has one module per format, and
``open_source.py`` finds the right one; ``refused.py`` says how to convert others.
``split_assignment.py`` assigns the samples to splits, ``writers.py`` stores them so that a killed
run can resume, ``pack.py`` runs all steps.
"""
