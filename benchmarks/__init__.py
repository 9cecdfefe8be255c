"""Measurements of hpc_dl; `make bench` runs them and writes docs/reference/benchmarks.md.

Their processes start as those of hpc_dl do: without what Lightning rarely uses.
"""

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()
