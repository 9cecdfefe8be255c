"""Figures of runs, drawn by matplotlib's Agg without a display: ``hpc-dl figures``."""
