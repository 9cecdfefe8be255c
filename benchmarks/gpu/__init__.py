"""Measurements on one GPU: throughput of a step, reading into the GPU, exact resume, and the zoo.

``python -m benchmarks.gpu`` (``make gpu``) takes at most 8 minutes. It writes benchmarks/gpu.json
after each part, skips parts that the file has (``--again`` measures them again), and writes a
section of docs/reference/benchmarks.md. ``--rehearse`` runs every part on CPUs with tiny sizes, for
less than two minutes, to test the benchmark; its figures mean nothing.

It needs torch, pytorch-lightning, torchmetrics, h5py, numpy and SciPy. On a machine without a
package index, ``--wheels DIR`` brings what else is needed; ``make gpu-wheels`` downloads it.
"""
