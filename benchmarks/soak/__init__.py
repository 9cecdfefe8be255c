"""A soak test: stop and damage trainings at random moments, resume them, and compare every bit.

``make soak`` or ``python -m benchmarks.soak --seconds 60 --seed 1``. A run with faults must end
with the same weights, optimizer, random states, journal and result as an undisturbed one, and lose
no more steps than promised. The seed determines which faults hit which configuration, in which
order and at which moment; the exact instruction depends on the machine's timing.
"""
