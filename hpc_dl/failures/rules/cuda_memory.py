"""GPU memory: torch could not allocate what a batch needs."""

from __future__ import annotations

import re

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule

_MIB = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0, "TiB": 1024.0**2, "bytes": 2.0**-20}
_SIZE = r"([\d.]+) ([KMGT]iB|bytes)"
_TRIED = re.compile(rf"Tried to allocate {_SIZE}")
_FREE = re.compile(rf"of which {_SIZE} is free|{_SIZE} free")


class CudaMemory(Rule):
    """torch's error says how much was asked for and how much was free."""

    patterns = (
        r"CUDA out of memory",
        r"(?:CUDA|HIP) error: out of memory",
        r"HIP out of memory",
        r"CUBLAS_STATUS_ALLOC_FAILED",
        r"Cuda failure (?:\d+ )?'out of memory'",
        r"torch\.OutOfMemoryError",
    )

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Propose half of the batch, with the same batch for each step."""
        text = finding.line.text
        tried, free = _mib(_TRIED.search(text)), _mib(_FREE.search(text))
        missing = f": {_text(tried - free)} were missing" if tried and free is not None and tried > free else ""
        cause = f"the GPU's memory is full{missing}"
        settings = evidence.settings
        accumulated = settings.get("trainer.accumulate_grad_batches") or 1
        key = "data.batch_size" if settings.get("data.batch_size") else "data.global_batch_size"
        size = settings.get(key)
        spread = (
            "resume on twice as many GPUs (resources.gpus_per_node or resources.nodes), which halves the batch of each"
        )
        if isinstance(size, int) and size > 1 and isinstance(accumulated, int):
            half = (size + 1) // 2
            overrides = (f"{key}={half}", f"trainer.accumulate_grad_batches={2 * accumulated}")
            remedy = (
                f"start a new run with half of the batch and as many samples for each step: {' '.join(overrides)}; "
                f"halve it again if need be. Or {spread}"
            )
            return Advice(cause, remedy, (key, "trainer.accumulate_grad_batches"), overrides, resume=False)
        remedy = f"use a smaller data.batch_size, trainer.precision=bf16-mixed or a GPU with more memory. Or {spread}"
        return Advice(cause, remedy, ("data.batch_size", "trainer.precision"), resume=False)


def _mib(match: re.Match[str] | None) -> float | None:
    groups = [group for group in match.groups() if group] if match else []
    try:
        return float(groups[0]) * _MIB[groups[1]] if groups else None
    except ValueError:
        return None


def _text(mib: float) -> str:
    return f"{mib / 1024:.3g} GiB" if mib >= 1024 else f"{mib:.3g} MiB"
