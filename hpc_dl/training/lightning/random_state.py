"""The random generators of Python, NumPy and torch: their states, and seeds for a new rank."""

from __future__ import annotations

import random

import numpy as np
import torch

from hpc_dl.training.lightning.plain_copies import State


def capture(device: torch.device) -> State:
    """Copy the states of all generators, and of the GPU's where ``device`` is one."""
    name, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: State = {
        "python": random.getstate(),
        # As a tensor of 64-bit integers: torch.load(weights_only=True) refuses NumPy's types.
        "numpy": (str(name), torch.tensor(np.asarray(key).tolist()), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(device: torch.device, state: State) -> list[str]:
    """Restore the states of all generators; return a warning where GPU and CPU were exchanged."""
    random.setstate(state["python"])
    name, key, *position_and_gauss = state["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *position_and_gauss))
    torch.set_rng_state(state["torch"])
    if ("cuda" in state) != (device.type == "cuda"):
        before, now = ("GPU", "CPU") if "cuda" in state else ("CPU", "GPU")
        return [f"The checkpoint was saved on a {before}, and this training runs on a {now}: random numbers differ."]
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    return []


def seed_fresh(seed: int, rank: int, step: int) -> None:
    """Seed all generators for a rank without a saved state, as when the number of ranks changed.

    The seeds are the first 32-bit words of ``numpy.random.SeedSequence(seed, spawn_key=(rank,
    step))``: 64 bits for Python's generator, 128 for NumPy's, 64 for those of torch (CPU and
    GPUs). So they are reproducible, independent between the ranks, and independent of the seeds
    that the ranks started with.

    Args:
        seed: the experiment's seed, not negative.
        rank: number of this process over all nodes, from 0.
        step: optimizer steps done so far.
    """
    words = np.random.SeedSequence(seed, spawn_key=(rank, step)).generate_state(8, np.uint32)
    pairs = words.view(np.uint64)
    random.seed(int(pairs[0]))
    np.random.seed(words[2:6])
    torch.manual_seed(int(pairs[3]))
