"""The shared memory of the node (/dev/shm) is full."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class SharedMemory(Rule):
    """What the workers of a data loader say."""

    patterns = (
        r"insufficient shared memory",
        r"(?i)unable to (?:write to|mmap|open shared memory|resize) .*(?:/torch_|shared memory).*",
        r"(?i)(?:/dev/shm|/torch_)\S*.*no space left on device",
        r"DataLoader worker .* is killed by signal: Bus error",
        r"(?i)no space left on device.*/dev/shm",
        r"Error while creating shared memory segment",
    )
    cause = "the shared memory of the node (/dev/shm), through which workers pass batches, is full"
    remedy = (
        "use fewer workers (num_workers of your own loader), or more of it: request more "
        "resources.memory, and in a container bind the node's with `container: {{binds: [/dev/shm]}}`"
    )
    keys = ("resources.memory", "container", "data")
