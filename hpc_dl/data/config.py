"""The ``data`` section of an experiment: the file, its splits, batches and preprocessing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_dl.data.spec import WITHOUT_TARGETS, TaskName
from hpc_dl.data.split_config import Fraction, Splits
from hpc_dl.schema import Section, Unit

DEFAULT_BATCH_SIZE = 64  # samples per device

# Keys that describe the layout of a file. A shipped source has a known layout.
_FILE_ONLY = ("inputs", "splits", "channels")

Stage = Literal["none", "node", "ram"]
ImputationMethod = Literal["none", "mean", "median", "most_frequent", "own_class"]
ScalingMethod = Literal["auto", "none", "unit", "center", "standardize"]
ProjectionMethod = Literal["none", "pca", "whiten", "zca"]
BalanceMethod = Literal["none", "undersample", "oversample"]
ShuffleMethod = Literal["auto", "exact", "blocks"]
ChannelSetting = Literal["auto", "first", "last", "none"]

Names = str | Annotated[list[str], Field(min_length=1)]


class Windows(Section):
    """Samples that are windows of one long stream (T, …) of tokens or measurements."""

    length: Annotated[int, Field(ge=1), Unit("steps")]
    """Length of a sample."""
    stride: Annotated[int | None, Field(ge=1), Unit("steps")] = None
    """Distance between the starts of consecutive samples. By default it equals ``length``, so
    samples do not overlap.
    """
    ahead: Annotated[int, Field(ge=0), Unit("steps")] = 1
    """Without ``targets``, a sample's targets are its inputs this many steps later; by default the
    next token.
    """


Amount = Annotated[float, Field(ge=0)]


class Augmentation(Section):
    """Random changes of the training images, drawn separately for each sample and epoch.

    Evaluation uses unchanged images. By default nothing is changed.
    """

    mirror: list[Annotated[int, Field(ge=-3, le=-1)]] = []
    """Axes along which half of the samples are mirrored, counted from the last: -1 left and right,
    -2 top and bottom, -3 depth.
    """
    shift: Annotated[Fraction, Unit("of the size")] = 0.0
    """Largest shift along each axis, as a fraction of the image size."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of size: 0.1 scales by 0.9 to 1.1."""
    rotate: Annotated[float, Field(ge=0, le=180), Unit("degrees")] = 0.0
    """Largest rotation angle; volumes are rotated about each of their axes."""
    shear: Fraction = 0.0
    """Largest shear: how far one side moves relative to its distance from the opposite side."""
    elastic: Annotated[Amount, Unit("pixels")] = 0.0
    """Elastic deformation (Simard et al., 2003): each pixel is taken from a place that is shifted
    by a smooth random field; the standard deviation of the shift along each axis. Simard's α = 34
    with σ = 4 is 1.4 pixels."""
    elastic_smoothness: Annotated[float, Field(gt=0, le=64), Unit("pixels")] = 4.0
    """Standard deviation σ of the Gaussian that smooths the field of ``elastic``: the larger, the
    more do neighbors move together."""
    occlude: Annotated[Fraction, Unit("of the size")] = 0.0
    """Side of a box at a random place that is set to the image's mean (cutout, DeVries and Taylor,
    2017), as a fraction of each side of the image; the box may lie partly outside. Labels of pixels
    stay."""
    brightness: Amount = 0.0
    """Largest value added to all pixels of an image, in units of the scaled inputs."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of the pixels' distance from the image mean: 0.2 changes it by a
    factor of 0.8 to 1.2.
    """
    noise: Amount = 0.0
    """Standard deviation of Gaussian noise added to each pixel, in units of the scaled inputs."""


class DataConfig(Section):
    """The samples to train on, and how they are batched and preprocessed."""

    source: str | None = None
    """Name of a shipped data source (``hpc-dl data list``). Its file is created in the data folder
    once and reused afterward.
    """
    file: str | None = None
    """Path of an HDF5 file, instead of ``source``. A relative path is resolved from the current
    folder.
    """
    stage: Stage = "none"
    """Read a copy of the file, which a job makes once per node before the training: ``node`` in the
    node's scratch folder (``scratch_dir`` of the site profile, else ``$SLURM_TMPDIR``, ``$TMPDIR``
    or ``/tmp``), ``ram`` in its memory (``/dev/shm``, which counts as memory of the job). The
    result is the same. If there is no copy, for example for lack of space, the log says why, and
    the training reads the original.
    """
    inputs: Names = "inputs"
    """Path of the dataset with the inputs, relative to each split's group if the file is split by
    groups. A list of several paths makes each batch a mapping from these names to tensors. Samples
    of different lengths are stored one after another in ``NAME``, and where each starts in
    ``NAME_offsets`` (N + 1 integers).
    """
    targets: Names | None = "targets"
    """Path of the dataset with the targets, or a list of paths, as for ``inputs``. null if there
    are none: for tasks without targets, and with ``windows`` if the targets are later steps of the
    inputs.
    """
    windows: Windows | None = None
    """Cut samples from one long stream; by default each row of a dataset is a sample."""
    crop: Annotated[list[Annotated[int, Field(ge=1)]] | None, Field(min_length=1), Unit("pixels")] = None
    """Size of the crops to train on, along the last axes of the inputs and, for ``segmentation``,
    of the targets. Crops are at random positions in training and in the center in evaluation. By
    default samples are not cropped.
    """
    splits: Splits = Splits()
    """How the file is divided into train, val and test; by default it has a group for each."""
    task: Literal["auto", TaskName] = "auto"
    """What the targets are for. ``auto`` takes the file's attribute ``task``; without it, integer
    targets, and labels that ``classes`` numbers, mean classification, and all others regression.
    Set ``classification`` for classes that are stored as floats or as one-hot rows of floats. Set
    ``regression`` for whole numbers that are not classes (an age, a count). ``multilabel`` needs a
    row of zeros and ones per sample, ``segmentation`` one class per pixel or voxel,
    ``sequence_labeling`` one per step, ``node_classification`` one per node; ``language_modeling``
    predicts the next token at each step, ``sequence_to_sequence`` a sequence, of any length, for a
    sequence, a vector or an image. ``reconstruction``, ``generation`` and ``embedding`` have no
    targets.
    """
    classes: Literal["numbered", "remap"] | Annotated[list[int | float | str], Field(min_length=2)] = "numbered"
    """Which class each stored label is. ``numbered``: labels are the numbers of the classes, from
    0. ``remap``: the distinct labels in ascending order are classes 0, 1, …; for labels that are
    texts, negative, or have gaps. A checkpoint keeps them. Or a list of the labels of class 0, 1,
    ….
    """
    ignore_label: int | str | None = None
    """Stored label of samples, pixels, steps or nodes without a class, such as -1 or 255; ``nan``
    for NaN. They count neither in the loss nor in metrics, class weights or baselines.
    """
    group: str | None = None
    """Path of a dataset with the group of each sample, such as its site, scanner or sex (integers
    or texts), found like ``inputs``. For classification and regression, the result then has metrics
    of the test samples by group: ``accuracy``, ``recall`` and ``positive_rate`` (share predicted as
    class 1) with Wilson's 95% interval, ``mae`` and ``bias`` with Student's t. ``hpc-dl evaluate``
    has those of any split.
    """
    channels: ChannelSetting = "auto"
    """Axis of the channels in the stored inputs: ``first`` (N, C, …), ``last`` (N, …, C), or
    ``none`` if there is no such axis, in which case one is added. ``auto`` means ``first``, except
    that (N, H, W) in a file not written by hpc_dl is taken as images without channels.
    """
    batch_size: Annotated[int | None, Field(ge=1), Unit("samples per device")] = None
    """Number of samples per batch on each device. Defaults to 64 unless ``global_batch_size`` is
    set.
    """
    global_batch_size: Annotated[int | None, Field(ge=1), Unit("samples over all devices")] = None
    """Number of samples per batch over all devices together, instead of ``batch_size``. It must be
    a multiple of the number of devices.
    """
    shuffle: ShuffleMethod = "auto"
    """How training samples are shuffled. ``exact``: all orders are equally likely. ``blocks``:
    samples stored close together are read together, and a buffer of them is shuffled, so compressed
    chunks are decoded once per epoch and disks are read in long pieces. ``auto``: ``exact`` for
    contiguous data of up to 8 GiB, otherwise ``blocks``.
    """
    shuffle_buffer: Annotated[float, Field(gt=0), Unit("MiB")] = 16.0
    """Amount of data that is decoded at once and, with ``blocks``, shuffled together. Two such
    buffers are in memory.
    """
    device_resident: Literal["auto", True, False] = "auto"
    """Keep all samples in the memory of the device and assemble batches there. ``auto``: on a GPU,
    if they take at most a quarter of its free memory.
    """
    imputation: ImputationMethod = "none"
    """What replaces missing values (NaN): the ``mean``, ``median`` or ``most_frequent`` value of
    the channel in the training split, or, for category numbers, an additional category
    (``own_class``: the greatest number plus one). ``none`` expects data without missing values.
    """
    missing_indicator: bool = False
    """For each channel, add another one that marks missing values with 1 and all others with 0."""
    scaling: ScalingMethod = "auto"
    """Scaling of the inputs, fitted on the training split. ``unit``: to [0, 1] by the range of each
    variable or channel, but by one range for all pixels of images and volumes of integers;
    ``center``: to mean 0 per channel; ``standardize``: to mean 0 and standard deviation 1 per
    channel; ``none``. ``auto``: ``unit`` for integer inputs, otherwise ``standardize``; token
    numbers are not scaled.
    """
    projection: ProjectionMethod = "none"
    """Projection of scaled vectors, or of all values of a series, image or volume, to the principal
    components of the training split. ``pca`` rotates the axes; ``whiten`` also makes the covariance
    the identity; both return vectors. ``zca`` whitens and rotates back, so that images stay images
    (Krizhevsky, 2009).
    """
    components: Annotated[int | None, Field(ge=1)] = None
    """Number of principal components to keep, those of the greatest variance; all by default."""
    whitening_epsilon: Annotated[float, Field(ge=0), Unit("of the mean variance")] = 0.0
    """Added to the variance of each component before ``whiten`` and ``zca`` divide by its root, so
    that the noise of the smallest components is not scaled up; 0.01 to 0.1 for images.
    """
    balance: BalanceMethod = "none"
    """Make all classes equally frequent in training. ``undersample`` drops random samples of the
    frequent classes, ``oversample`` repeats samples of the rare ones. Evaluation always uses all
    samples once. To weight classes in the loss instead, set ``loss.class_weights``.
    """
    augmentation: Augmentation = Augmentation()
    """Random changes of the training images and volumes, made on the device; none by default."""

    @property
    def import_paths(self) -> list[str]:
        """The import paths of a user's own code that the section names."""
        return []

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the input datasets."""
        return _as_tuple(self.inputs)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the target datasets; of the inputs if targets are later steps of them."""
        if self.task in WITHOUT_TARGETS:
            return ()
        return _as_tuple(self.inputs if self.targets is None else self.targets)

    @property
    def steps_ahead(self) -> int:
        """The number of steps by which targets are ahead in the stream; 0 if they are separate."""
        if self.windows is None or self.targets is not None or self.task in WITHOUT_TARGETS:
            return 0
        return self.windows.ahead

    @model_validator(mode="after")
    def _check_combinations(self) -> DataConfig:
        if (self.source is None) == (self.file is None):
            raise ValueError("set exactly one of `source` (a name from `hpc-dl data list`) and `file` (a path)")
        if self.batch_size is not None and self.global_batch_size is not None:
            raise ValueError("`batch_size` and `global_batch_size` exclude each other; keep only one")
        if self.targets is None and self.windows is None and self.task not in WITHOUT_TARGETS:
            raise ValueError(
                "`targets: null` requires `windows`, or a `task` without targets "
                f"({', '.join(WITHOUT_TARGETS)}); otherwise set `targets` to the dataset with the targets"
            )
        if self.missing_indicator and self.imputation == "none":
            raise ValueError("`missing_indicator` requires `imputation`; choose how missing values are filled in")
        if self.components is not None and self.projection == "none":
            raise ValueError("`components` requires `projection: pca`, `whiten` or `zca`")
        if self.whitening_epsilon and self.projection not in ("whiten", "zca"):
            raise ValueError("`whitening_epsilon` requires `projection: whiten` or `zca`")
        if self.windows is not None and self.crop is not None:
            raise ValueError("`windows` and `crop` exclude each other; keep only one")
        if self.source is not None:
            changed = [name for name in _FILE_ONLY if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                names = ", ".join(f"`{name}`" for name in changed)
                raise ValueError(
                    f"{names}: only allowed with `file`, since the layout of a shipped source is fixed; remove it"
                )
        return self


def _as_tuple(names: Names) -> tuple[str, ...]:
    """Return the names without slashes: ``/nodes`` of an undivided file is ``nodes``."""
    return tuple(name.strip("/") for name in ((names,) if isinstance(names, str) else names))
