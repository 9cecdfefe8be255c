"""Calls that a user's module makes to other loggers of Lightning, answered by a recorded run.

Modules are written for ``TensorBoardLogger``, Lightning's default
(``self.logger.experiment.add_scalar``), or for ``WandbLogger`` (``self.logger.log_image``); they
train here unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import wandb

_NOT_RECORDED = ("add_graph", "add_embedding", "add_hparams", "add_pr_curve", "add_mesh", "add_custom_scalars")


class TensorBoardCalls:
    """The methods of TensorBoard's ``SummaryWriter``, which log as ``wandb.log`` does.

    Steps are not used: a row belongs to the training's global step.
    """

    log: Callable[..., None]
    _hpc_dl_say: Callable[[str], None]

    def add_scalar(self, tag: str, scalar_value: Any, *_: Any, **__: Any) -> None:
        """Log a number."""
        self.log({tag: scalar_value})

    def add_scalars(self, main_tag: str, tag_scalar_dict: Mapping[str, Any], *_: Any, **__: Any) -> None:
        """Log several numbers as ``main_tag/name``."""
        self.log({f"{main_tag}/{name}": value for name, value in tag_scalar_dict.items()})

    def add_image(self, tag: str, img_tensor: Any, *_: Any, dataformats: str = "CHW", **__: Any) -> None:
        """Log an image."""
        self.add_images(tag, img_tensor[None], dataformats=f"N{dataformats}")

    def add_images(self, tag: str, img_tensor: Any, *_: Any, dataformats: str = "NCHW", **__: Any) -> None:
        """Log a batch of images."""
        images = img_tensor.detach().cpu().numpy() if hasattr(img_tensor, "detach") else img_tensor
        if images.ndim == len(dataformats) == 4:
            images = images.transpose([dataformats.index(axis) for axis in "NHWC"])
        self.log({tag: [wandb.Image(image) for image in images]})

    def add_figure(self, tag: str, figure: Any, *_: Any, **__: Any) -> None:
        """Log a figure of matplotlib, or several."""
        figures = figure if isinstance(figure, Sequence) else [figure]
        self.log({tag: [wandb.Image(one) for one in figures]})

    def add_histogram(self, tag: str, values: Any, *_: Any, **__: Any) -> None:
        """Log a histogram."""
        self.log({tag: wandb.Histogram(values.detach().cpu() if hasattr(values, "detach") else values)})

    def add_text(self, tag: str, text_string: str, *_: Any, **__: Any) -> None:
        """Log a text."""
        self.log({tag: text_string})

    def flush(self) -> None:
        """Do nothing: each row is written at once."""

    def close(self) -> None:
        """Do nothing: hpc_dl ends the run."""

    def __getattr__(self, name: str) -> Any:
        if name in _NOT_RECORDED:
            return lambda *_, **__: self._hpc_dl_say(f"self.logger.experiment.{name} does nothing in a run of hpc_dl.")
        remedy = "; log with self.log or self.logger.experiment.log({name: value})" if name[:1] != "_" else ""
        raise AttributeError(f"the run of self.logger.experiment has no {name}{remedy}")


class WandbLoggerCalls:
    """The methods of Lightning's ``WandbLogger`` that log media."""

    experiment: Any

    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        """Log images; each option, such as ``caption``, is a list with a value per image."""
        _log_media(self.experiment, wandb.Image, key, images, options)

    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **options: Any) -> None:
        """Log sounds; each option is a list with a value per sound."""
        _log_media(self.experiment, wandb.Audio, key, audios, options)

    def log_video(self, key: str, videos: list[Any], step: int | None = None, **options: Any) -> None:
        """Log videos; each option is a list with a value per video."""
        _log_media(self.experiment, wandb.Video, key, videos, options)

    def log_table(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: int | None = None
    ) -> None:
        """Log a table."""
        self.experiment.log({key: wandb.Table(columns=columns, data=data, dataframe=dataframe)})

    def log_text(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: int | None = None
    ) -> None:
        """Log a table of texts."""
        self.experiment.log({key: wandb.Table(columns=columns, data=data, dataframe=dataframe)})

    def watch(self, *models: Any, **options: Any) -> None:
        """Say what to use instead."""
        self.experiment.watch(*models, **options)


def _log_media(
    run: Any, kind: Callable[..., Any], key: str, items: list[Any], options: Mapping[str, list[Any]]
) -> None:
    given = [{name: values[i] for name, values in options.items()} for i in range(len(items))]
    run.log({key: [kind(item, **each) for item, each in zip(items, given, strict=True)]})
