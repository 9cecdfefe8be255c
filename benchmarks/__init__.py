"""Measurements of hpc_dl; `make bench` runs them and writes docs/reference/benchmarks.md."""
