"""``hpc-dl data bench``: measures how fast a file can be read on this machine, and what limits it.

``shuffled.py`` measures shuffled reading as in training, ``machine.py`` the speed of memory and
disk. ``diagnosis.py`` finds the limit and a remedy, ``benchmark.py`` measures all splits of a file.
"""
