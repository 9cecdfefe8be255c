"""The spec of a data set after preprocessing, which may change the size of its inputs."""

from __future__ import annotations

import math
from dataclasses import replace

from hpc_dl.data.config import DataConfig
from hpc_dl.data.spec import DENSE, DataSpec, FieldSpec
from hpc_dl.errors import ConfigError

_MAX_FEATURES = 8192  # their covariance takes 0.5 GiB, its eigenvectors a few minutes


def can_hold_nan(field: FieldSpec) -> bool:
    """Whether an input can hold NaN, which integers cannot."""
    return field.dtype.startswith("float")


def spec_after_preprocessing(spec: DataSpec, config: DataConfig) -> DataSpec:
    """Return the spec with the inputs as preprocessing returns them.

    Args:
        spec: of the data as stored.
        config: the ``data`` section.

    Raises:
        ConfigError: the preprocessing does not fit these inputs.
    """
    if config.imputation != "none" and not any(map(can_hold_nan, spec.inputs)):
        raise ConfigError.at(
            "data.imputation",
            f"has nothing to fill in: {spec.file} stores integers, which cannot be NaN",
            value=config.imputation,
            remedy="remove it, or store missing values as NaN in an array of floats",
        )
    stored = spec.inputs
    if config.projection != "none":
        spec = _projected(spec, config)
    if config.missing_indicator:
        inputs = [_with_indicator(*fields) for fields in zip(spec.inputs, stored, strict=True)]
        spec = replace(spec, inputs=tuple(inputs))
    return spec


def _projected(spec: DataSpec, config: DataConfig) -> DataSpec:
    if spec.input_kind not in DENSE:
        raise ConfigError.at(
            "data.projection",
            f"works on samples of one shape only, but {spec.file} has {spec.inputs_description}",
            value=config.projection,
            remedy="remove it",
        )
    to_vectors = config.projection != "zca" and spec.input_kind != "vector"
    for key, used in (("missing_indicator", config.missing_indicator), ("augmentation", config.augmentation)):
        if to_vectors and used != DataConfig.model_fields[key].default:
            raise ConfigError.at(
                f"data.{key}",
                f"cannot be combined with `data.projection: {config.projection}`, which makes vectors of the "
                f"{spec.input_kind}s",
                remedy="use `projection: zca`, or remove one of them",
            )
    field = spec.inputs[0]
    features = math.prod(field.shape)
    if features > _MAX_FEATURES:
        raise ConfigError.at(
            "data.projection",
            f"would need the covariance of {features:,} features, which takes too long",
            value=config.projection,
            allowed=f"up to {_MAX_FEATURES:,} features",
            remedy="remove it",
        )
    components = features if config.components is None else config.components
    if components > features:
        raise ConfigError.at(
            "data.components",
            f"exceeds the number of features in {spec.file}",
            value=components,
            allowed=f"1 to {features}",
            remedy="lower it, or remove it to keep all components",
        )
    if config.projection == "zca":
        return spec
    return replace(spec, inputs=(replace(field, shape=(components,)),))


def _with_indicator(field: FieldSpec, stored: FieldSpec) -> FieldSpec:
    """Add one channel for each stored channel."""
    if not can_hold_nan(field):
        return field
    axis = field.channel_axis - 1  # of a sample
    if len(field.shape) <= axis:
        raise ConfigError.at(
            "data.missing_indicator",
            f"needs steps with several features, but those of {field.name} are single numbers",
            value=True,
            remedy="remove it",
        )
    shape = list(field.shape)
    shape[axis] += stored.shape[axis]
    return replace(field, shape=tuple(shape))
