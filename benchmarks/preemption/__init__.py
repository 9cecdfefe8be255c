"""The cost of being able to stop a training at any moment.

``python -m benchmarks.preemption`` measures it per step, per stop and start, and per checkpoint,
and writes benchmarks/preemption.json and a section of docs/reference/benchmarks.md.
"""
