"""What a run's result says about its fit; the file may be damaged or from someone else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc_dl.formatting import text_of

_SHOWN = (("train", "training"), ("val", "validation"), ("constant", "best constant prediction"))


def fit_of(result: Mapping[str, Any]) -> str:
    """Return the fit (see :mod:`hpc_dl.training.diagnosis`); empty where there is no diagnosis."""
    diagnosis = result.get("diagnosis")
    fit = diagnosis.get("fit") if isinstance(diagnosis, dict) else None
    return fit if isinstance(fit, str) else ""


def advice_of(result: Mapping[str, Any]) -> list[str]:
    """Return the sentences of the diagnosis."""
    diagnosis = result.get("diagnosis")
    advice = diagnosis.get("advice") if isinstance(diagnosis, dict) else None
    return [sentence for sentence in advice if isinstance(sentence, str)] if isinstance(advice, list) else []


def losses_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the losses that the fit follows from, by ``train``, ``val`` and ``constant``."""
    diagnosis = result.get("diagnosis")
    losses = diagnosis.get("losses") if isinstance(diagnosis, dict) else None
    known = losses.items() if isinstance(losses, dict) else ()
    return {name: float(value) for name, value in known if type(value) in (int, float)}


def sentence_of(result: Mapping[str, Any]) -> str:
    """Return the losses in one sentence; empty where they are not known."""
    losses = losses_of(result)
    parts = [f"{label} {text_of(float(f'{losses[name]:.3g}'))}" for name, label in _SHOWN if name in losses]
    return f"Losses of the trained model: {', '.join(parts)}." if parts else ""
