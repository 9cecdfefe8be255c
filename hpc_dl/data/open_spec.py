"""The data set that a ``data`` section describes, as a model sees it; free of torch."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.child_process import Progress, beat_while_python_runs, in_child_process
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.fields import open_targets
from hpc_dl.data.files.value_checks import sample_ranges
from hpc_dl.data.preprocessed_spec import spec_after_preprocessing
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED, OWN_DATA, DataSpec
from hpc_dl.data.storage.dependencies import files_behind
from hpc_dl.data.storage.file_version import WatchedFiles
from hpc_dl.regular_files import user_path

_SILENCE_S = 60.0  # of one call of the HDF5 library, on a slow file system


def open_spec(config: DataConfig, data_dir: str | Path | None = None) -> DataSpec:
    """Open the section's file and return the shapes, task and classes that a model sees.

    Only headers and targets are read, so this is light enough for a login node.

    Args:
        config: the ``data`` section.
        data_dir: folder of the shipped sources; ``$HPC_DL_DATA`` or ``data`` if None.

    Raises:
        DataError: the file is missing, damaged, or does not fit the section. The problems of all
            splits are reported at once.
        ConfigError: the section requests preprocessing that these inputs do not allow.
    """
    if config.source is None and config.file is None:  # the module has its own loaders
        return OWN_DATA
    return spec_after_preprocessing(open_data(data_path(config, data_dir), config).spec, config)


def open_untested_spec(config: DataConfig, data_dir: str | Path | None = None) -> DataSpec:
    """Do the same as :func:`open_spec` in a child process, for a file that no run has read yet.

    A damaged file on which the HDF5 library crashes or loops forever is one line then.

    Args:
        config: as for :func:`open_spec`.
        data_dir: as for :func:`open_spec`.

    Raises:
        DataError: as for :func:`open_spec`, or the HDF5 library crashed or did not return.
        ConfigError: as for :func:`open_spec`.
    """
    if config.source is not None or config.file is None:  # our own file, or none
        return open_spec(config, data_dir)

    def read(_: Path, beat: Progress) -> DataSpec:
        beat_while_python_runs(beat)  # many labels may take long
        return open_spec(config, data_dir)

    return in_child_process(read, data_path(config), silence_s=_SILENCE_S)


def data_path(config: DataConfig, data_dir: str | Path | None = None) -> Path:
    """Return the absolute path of the section's file; a shipped source is made if it is missing.

    Raises:
        DataError: the source is unknown or cannot be made.
    """
    if config.source is not None:
        return sources.ensure(config.source, data_dir).absolute()
    assert config.file is not None  # DataConfig requires either a source or a file
    return user_path(config.file, "data.file").absolute()


def watched_files(config: DataConfig) -> WatchedFiles:
    """Return the section's files as they are now, to notice that they change.

    Raises:
        DataError: the source is unknown or cannot be made.
    """
    if config.source is None and config.file is None:  # what the module's own loaders read is not known
        return WatchedFiles([])
    path = data_path(config)
    try:
        return WatchedFiles(files_behind(path))
    except (OSError, RuntimeError, LookupError, ValueError):  # the next attempt to open it reports this better
        return WatchedFiles([path])


def class_counts(config: DataConfig) -> tuple[int, ...]:
    """Count how often each class or label occurs in the training split.

    Samples are counted, or their steps, pixels or nodes where each of these has a class. What has
    no class (``data.ignore_label``) is not counted.

    Args:
        config: the ``data`` section of a task with classes.

    Raises:
        DataError: the file is missing, damaged, or has no classes.
    """
    data = open_data(data_path(config), config)
    spec, split = data.spec, data.splits["train"]
    counts = np.zeros(spec.num_outputs, np.int64)
    field = next(open_targets(spec, split))
    with closing(field.rows):
        for samples in sample_ranges(spec.sizes["train"], field, split, max_bytes=np.iinfo(np.int64).max):
            values = field.take(split.dataset_indices(np.arange(samples.start, samples.stop)), None)
            labels = values.values if isinstance(values, Ragged) else values
            if spec.task == "multilabel":
                counts += (labels == 1).sum(0)
            else:
                counts += np.bincount(labels[labels != IGNORED], minlength=spec.num_outputs)
    return tuple(map(int, counts))
