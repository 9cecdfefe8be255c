"""What a model meets of a data set: after preprocessing, its inputs may have another size than in
the file.
"""

from __future__ import annotations

from dataclasses import replace

from hpc_dl.data.config import DataConfig
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError

_MOST_FEATURES = 8192  # the covariance takes 0.5 GiB then, its eigenvectors some minutes


def may_lack_values(field: FieldSpec) -> bool:
    """Whether an input can hold NaN: integers cannot."""
    return field.dtype.startswith("float")


def presented(spec: DataSpec, config: DataConfig) -> DataSpec:
    """The spec with the inputs as preprocessing gives them.

    Args:
        spec: as the data are stored.
        config: says how they are preprocessed.

    Raises:
        ConfigError: these inputs cannot be preprocessed so.
    """
    if config.imputation != "none" and not any(map(may_lack_values, spec.inputs)):
        raise ConfigError.at(
            "data.imputation",
            f"has nothing to fill in: {spec.file} stores integers, which have no NaN",
            value=config.imputation,
            remedy="leave it out, or store missing values as NaN in an array of floats",
        )
    stored = spec.inputs
    if config.projection != "none":
        spec = _projected(spec, config)
    if config.missing_indicator:
        inputs = [_with_indicator(field, was) for field, was in zip(spec.inputs, stored, strict=True)]
        spec = replace(spec, inputs=tuple(inputs))
    return spec


def _projected(spec: DataSpec, config: DataConfig) -> DataSpec:
    if spec.input_kind != "vector":
        raise ConfigError.at(
            "data.projection",
            f"is for vectors; {spec.file} has {spec.inputs_in_words}",
            value=config.projection,
            remedy="leave it out",
        )
    field = spec.inputs[0]
    (features,) = field.shape
    if features > _MOST_FEATURES:
        raise ConfigError.at(
            "data.projection",
            f"would need the covariance of {features:,} features",
            value=config.projection,
            allowed=f"up to {_MOST_FEATURES:,}",
            remedy="leave it out",
        )
    components = features if config.components is None else config.components
    if components > features:
        raise ConfigError.at(
            "data.components",
            f"are more than the features of {spec.file}",
            value=components,
            allowed=f"1 to {features}",
        )
    return replace(spec, inputs=(replace(field, shape=(components,)),))


def _with_indicator(field: FieldSpec, stored: FieldSpec) -> FieldSpec:
    """With a channel more for each that is stored."""
    if not may_lack_values(field):
        return field
    axis = field.channel_axis - 1  # of a sample
    if len(field.shape) <= axis:
        raise ConfigError.at(
            "data.missing_indicator",
            f"needs steps with features; those of {field.name} are single numbers",
            value=True,
            remedy="leave it out",
        )
    shape = list(field.shape)
    shape[axis] += stored.shape[axis]
    return replace(field, shape=tuple(shape))
