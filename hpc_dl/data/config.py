"""The ``data`` section of an experiment: which file, how it is split, how it is batched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_dl.data.spec import WITHOUT_TARGETS, TaskName
from hpc_dl.schema import Section, Unit

# What a file of the user's own may need to have told, and a shipped source never does.
_FILE_ONLY = ("inputs", "splits", "channels")

ImputationMethod = Literal["none", "mean", "median", "most_frequent", "own_class"]
ScalingMethod = Literal["auto", "none", "unit", "center", "standardize"]
ProjectionMethod = Literal["none", "pca", "whiten"]

Fraction = Annotated[float, Field(ge=0, le=1)]
Names = str | Annotated[list[str], Field(min_length=1)]


class SplitFractions(Section):
    """Split one undivided dataset at random (seeded) by these shares."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the samples to train on."""
    val: Fraction = 0.1
    """Share to validate on after each epoch."""
    test: Fraction = 0.1
    """Share to test on at the end."""
    seed: int = 0
    """Seed of the random split; kept apart from the experiment's so that all seeds share one split."""

    @model_validator(mode="after")
    def _sum(self) -> SplitFractions:
        if self.train + self.val + self.test > 1 + 1e-9:
            raise ValueError(
                f"the fractions add up to {self.train + self.val + self.test:g}, more than 1; lower one of them"
            )
        return self


class SplitIndices(Section):
    """Split by datasets of the file that hold row numbers (or a boolean mask) for each split."""

    train: str
    """Path of the dataset with the training rows, for example ``/split/train``."""
    val: str | None = None
    """Path of the dataset with the validation rows."""
    test: str | None = None
    """Path of the dataset with the test rows."""


class SplitGroups(Section):
    """Split by groups: ``inputs`` and ``targets`` are then paths inside each of these groups."""

    train: str = "train"
    """Group that holds the training samples."""
    val: str | None = "val"
    """Group that holds the validation samples."""
    test: str | None = "test"
    """Group that holds the test samples."""


class Splits(Section):
    """How a file is divided; exactly one way is used, groups (this project's own format) by
    default.
    """

    fractions: SplitFractions | None = None
    """Random split of one dataset by shares."""
    indices: SplitIndices | None = None
    """Datasets in the file that list the rows of each split."""
    groups: SplitGroups | None = None
    """Groups in the file that hold the splits."""

    @model_validator(mode="after")
    def _one_way(self) -> Splits:
        given = [name for name in ("fractions", "indices", "groups") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one of them")
        return self


class Windows(Section):
    """Samples that are windows of one long stream (T, …): of tokens, or of a recording."""

    length: Annotated[int, Field(ge=1), Unit("steps")]
    """Steps of the stream in one sample."""
    stride: Annotated[int | None, Field(ge=1), Unit("steps")] = None
    """Steps from the beginning of one sample to that of the next; ``length`` when left out: no step
    is seen twice."""
    ahead: Annotated[int, Field(ge=0), Unit("steps")] = 1
    """Without ``targets`` a sample's targets are the inputs so many steps later: 1 for the next
    token."""


Amount = Annotated[float, Field(ge=0)]


class Augmentation(Section):
    """Random changes of the training images, each drawn anew for each sample; evaluation sees them
    as they are.
    """

    mirror: list[Annotated[int, Field(ge=-3, le=-1)]] = []
    """Axes along which half of the samples are mirrored, from the last: -1 left and right, -2 up
    and down, -3 depth."""
    shift: Annotated[Fraction, Unit("of the size")] = 0.0
    """Largest shift along each axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of size: 0.1 for 0.9 to 1.1 times."""
    rotate: Annotated[float, Field(ge=0, le=180), Unit("degrees")] = 0.0
    """Largest rotation; of a volume about each of its axes."""
    shear: Fraction = 0.0
    """Largest shear: how far a side moves, as a share of the distance."""
    brightness: Amount = 0.0
    """Largest value that is added to all pixels, in units of the scaled inputs."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of the distance of all pixels from their mean."""
    noise: Amount = 0.0
    """Standard deviation of the noise that is added to each pixel, in units of the scaled inputs."""


class DataConfig(Section):
    """Which samples to learn from, and in batches of how many."""

    source: str | None = None
    """Name of a shipped data source (``hpc-dl data list``); it is made once, then read from the
    data folder."""
    file: str | None = None
    """Path of an HDF5 file; in place of ``source``. A relative path is taken from the current
    folder."""
    inputs: Names = "inputs"
    """Path of the dataset with the inputs (inside each split's group where the split is by groups),
    or a list of them: batches are then mappings of these names to tensors. Samples of different
    lengths lie one after another in ``NAME``, and where each begins in ``NAME_offsets`` (N + 1
    integers)."""
    targets: Names | None = "targets"
    """Path of the dataset with the targets, or a list, likewise; null with ``windows``, where the
    stream itself is, and for tasks that have none."""
    windows: Windows | None = None
    """Cut samples from one long stream."""
    crop: Annotated[list[Annotated[int, Field(ge=1)]] | None, Field(min_length=1), Unit("pixels")] = None
    """Give crops of this size, from the last axes of inputs and (``segmentation``) of targets: at
    random places in training, from the middle in evaluation."""
    splits: Splits = Splits()
    """How the file is divided into train, val and test."""
    task: Literal["auto", TaskName] = "auto"
    """What the targets are for; ``auto`` takes the file's attribute ``task``, else classification
    for integer targets and regression for others. Whole numbers that are not classes (an age, a
    count) need ``regression``; ``multilabel`` is a row of 0 and 1 for each sample; ``segmentation``
    one class for each pixel or voxel, ``sequence_labeling`` for each step, ``node_classification``
    for each node, ``language_modeling`` the next token at each step; ``sequence_to_sequence`` a
    sequence of its own length. ``reconstruction``, ``generation`` and ``embedding`` have no
    targets."""
    channels: Literal["auto", "first", "last", "none"] = "auto"
    """Axis of the channels in the stored inputs: ``first`` (N, C, …), ``last`` (N, …, C), or
    ``none``, where a channel is added. ``auto`` is ``first``, except that (N, H, W) in a file not
    written by hpc_dl means images without one."""
    batch_size: Annotated[int | None, Field(ge=1), Unit("samples per device")] = None
    """Samples in a batch on each device; 64 when neither this nor ``global_batch_size`` is given."""
    global_batch_size: Annotated[int | None, Field(ge=1), Unit("samples over all devices")] = None
    """Samples in a batch over all devices together; in place of ``batch_size``."""
    shuffle: Literal["auto", "exact", "blocks"] = "auto"
    """How training samples are put in random order. ``exact``: all orders are equally likely.
    ``blocks``: what lies together in the file is read together, and a buffer of it is shuffled;
    compressed chunks are then decoded once in an epoch, and disks read in long pieces. ``auto``:
    ``exact`` for contiguous data up to 8 GiB, else ``blocks``."""
    shuffle_buffer: Annotated[float, Field(gt=0), Unit("MiB")] = 16.0
    """What is shuffled among each other with ``blocks``, and decoded at once. Two such buffers are
    in memory."""
    device_resident: Literal["auto", True, False] = "auto"
    """Keep all samples in the memory of the device and gather batches there; ``auto``: on a GPU,
    where they take at most a quarter of its free memory."""
    imputation: ImputationMethod = "none"
    """What takes the place of a missing value (NaN): the mean, median or most frequent value of the
    channel on the training split, or, for numbers of categories, a category of its own (the
    greatest one plus one)."""
    missing_indicator: bool = False
    """Have a further channel for each that says where a value was missing (1) and where not (0)."""
    scaling: ScalingMethod = "auto"
    """Scaling of the inputs: ``unit`` to [0, 1] by the range of the training split (of all its
    values for integers, of each channel for others), ``center`` to mean 0 per channel on the
    training split, ``standardize`` to mean 0 and standard deviation 1; ``auto`` is ``unit`` for
    integer inputs, else ``standardize``."""
    projection: ProjectionMethod = "none"
    """Turn the axes of scaled vectors to the principal components of the training split; ``whiten``
    also makes their covariance the identity."""
    components: Annotated[int | None, Field(ge=1)] = None
    """How many principal components are kept, those of the greatest variance; all when left out."""
    balance: Literal["none", "undersample", "oversample"] = "none"
    """Make all classes equally frequent in training: leave out samples of the frequent ones, at
    random, or repeat those of the rare ones. Evaluation sees all samples as they are. Weights in
    the loss instead: ``loss.class_weights``."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the training images and volumes, on the device."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """The datasets of ``inputs``, one or several."""
        return _listed(self.inputs)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The datasets of ``targets``; those of the inputs where the targets are later steps of
        them.
        """
        if self.task in WITHOUT_TARGETS:
            return ()
        return _listed(self.inputs if self.targets is None else self.targets)

    @property
    def steps_ahead(self) -> int:
        """By how many steps the targets are later steps of the stream; 0 where they are not."""
        if self.windows is None or self.targets is not None or self.task in WITHOUT_TARGETS:
            return 0
        return self.windows.ahead

    @model_validator(mode="after")
    def _one_of(self) -> DataConfig:
        if (self.source is None) == (self.file is None):
            raise ValueError("give exactly one of `source` (a name from `hpc-dl data list`) and `file` (a path)")
        if self.batch_size is not None and self.global_batch_size is not None:
            raise ValueError("`batch_size` and `global_batch_size` exclude each other; keep one of them")
        if self.targets is None and self.windows is None and self.task not in WITHOUT_TARGETS:
            raise ValueError(
                "`targets: null` goes with `windows`, or with a `task` without targets "
                f"({', '.join(WITHOUT_TARGETS)}); name the dataset with the targets"
            )
        if self.missing_indicator and self.imputation == "none":
            raise ValueError("`missing_indicator` goes with `imputation`: say what takes the place of a missing value")
        if self.components is not None and self.projection == "none":
            raise ValueError("`components` goes with `projection: pca` or `whiten`")
        if self.windows is not None and self.crop is not None:
            raise ValueError("`windows` and `crop` exclude each other; keep one of them")
        if self.source is not None:
            own = [name for name in _FILE_ONLY if getattr(self, name) != type(self).model_fields[name].default]
            if own:
                names = ", ".join(f"`{name}`" for name in own)
                raise ValueError(
                    f"{names}: only for files of your own; a shipped source knows its layout, leave it out"
                )
        return self


def _listed(names: Names) -> tuple[str, ...]:
    """Without a slash before them: ``/nodes`` of an undivided file are ``nodes``."""
    return tuple(name.strip("/") for name in ((names,) if isinstance(names, str) else names))
