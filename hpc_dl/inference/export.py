"""Export of a trained model in the format that fits it: ONNX, or text for word vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_dl.inference.trained_model import TrainedModel


def export(trained: TrainedModel, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Export a model; see :mod:`hpc_dl.inference.onnx_export` and ``word_vectors``.

    Args:
        trained: the model.
        out: the file to write.
        force: whether it may replace an existing file.

    Returns:
        What was written; ``words`` only for word vectors.

    Raises:
        HpcDlError: the model cannot be exported, or the file cannot be written.
    """
    if trained.can("compare words"):
        from hpc_dl.inference.word_vectors import export_vectors

        return export_vectors(trained, out, force=force)
    from hpc_dl.inference.onnx_export import export as to_onnx

    return to_onnx(trained, out, force=force)
