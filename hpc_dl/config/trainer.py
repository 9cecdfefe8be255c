"""The ``trainer`` section: Lightning's own argument names, as far as an experiment may choose them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpc_dl.schema import Section, Unit

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]
Limit = Annotated[int | float, Field(ge=0)]

# Keys that users bring along from Lightning, and where their content comes from here.
_ELSEWHERE = {
    "devices": "resources.gpus_per_node says it",
    "num_nodes": "resources.nodes says it",
    "logger": "the journal always logs; see the wandb section for W&B",
    "callbacks": "put them into your own LightningModule's configure_callbacks",
    "default_root_dir": "the run folder is used; choose its parent with --runs",
    "enable_progress_bar": "a terminal gets a progress bar, a log file plain lines",
    "enable_checkpointing": "checkpoints are always written",
}


class EarlyStopping(Section):
    """End a training that no longer gets better, by the metric that decides which checkpoint is the
    best.
    """

    patience: Annotated[int, Field(ge=1), Unit("validations")] = 10
    """Stop after so many validations in a row without an improvement of ``checkpoint.monitor``."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """What is less than that is no improvement."""


class TrainerConfig(Section):
    """How long and how to train. Most keys are Lightning's ``Trainer`` arguments of the same names."""

    max_epochs: Annotated[int | None, Field(ge=1), Unit("epochs")] = None
    """Stop after this many epochs; 10 when neither this nor ``max_steps`` is given."""
    max_steps: Annotated[int | None, Field(ge=1), Unit("optimizer steps")] = None
    """Stop after this many optimizer steps."""
    early_stopping: EarlyStopping | None = None
    """Stop earlier when validations no longer improve; ``{}`` for the usual patience. Schedules are
    still laid out for the whole training."""
    precision: Precision = "32-true"
    """Number format of the computation; ``bf16-mixed`` suits recent GPUs."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto`` takes the GPU where there is one; ``gpu`` fails where there is none."""
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    """How ranks share the work; ``auto`` is DDP when there are several."""
    gradient_clip_val: Annotated[float | None, Field(gt=0)] = None
    """Clip gradients to this size; none by default."""
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    """Clip the norm over all parameters, or each value."""
    accumulate_grad_batches: Annotated[int, Field(ge=1), Unit("batches")] = 1
    """Batches whose gradients are added up before an optimizer step."""
    limit_train_batches: Limit = 1.0
    """Train on so many batches of an epoch (integer) or this share of them (fraction)."""
    limit_val_batches: Limit = 1.0
    """The same for validation."""
    limit_test_batches: Limit = 1.0
    """The same for the test."""
    val_check_interval: Annotated[int | float, Field(gt=0)] = 1.0
    """Validate after so many batches (integer) or this share of an epoch (fraction)."""
    check_val_every_n_epoch: Annotated[int, Field(ge=1), Unit("epochs")] = 1
    """Validate every so many epochs."""
    num_sanity_val_steps: Annotated[int, Field(ge=0), Unit("batches")] = 2
    """Validation batches tried before training, to meet a fault there early."""
    log_every_n_steps: Annotated[int, Field(ge=1), Unit("optimizer steps")] = 50
    """Write a row of training metrics every so many steps."""
    stall_timeout: Annotated[float | None, Field(gt=0), Unit("minutes")] = 10.0
    """End the job, naming the rank, when a rank makes no progress for so long; ``null`` waits for
    ever."""
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    """Have ``torch.compile`` make kernels of the network in this mode; the first steps take minutes
    then."""
    channels_last: bool = False
    """Store the weights of convolutions with their channels last: faster on recent GPUs with
    ``bf16-mixed``."""
    deterministic: bool | Literal["warn"] = False
    """Use deterministic GPU kernels only (slower); CPU training is deterministic anyway."""
    benchmark: bool = False
    """Let cuDNN search the fastest kernels (for inputs of constant shape)."""
    sync_batchnorm: bool = False
    """Share batch statistics between ranks (GPU only)."""
    detect_anomaly: bool = False
    """Find the operation that made a NaN (slow)."""

    @model_validator(mode="before")
    @classmethod
    def _not_here(cls, raw: Any) -> Any:
        told = [f"`{key}` is not set here: {_ELSEWHERE[key]}" for key in raw if key in _ELSEWHERE]
        if told:
            raise ValueError("; ".join(told))
        return raw

    @model_validator(mode="after")
    def _limits(self) -> TrainerConfig:
        for key in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval"):
            value = getattr(self, key)
            if isinstance(value, float) and value > 1:
                raise ValueError(f"`{key}` is a fraction of at most 1.0, or an integer number of batches; got {value}")
        return self

    @model_validator(mode="after")
    def _graphs_of_a_gpu(self) -> TrainerConfig:
        if self.compile == "reduce-overhead" and self.accelerator == "cpu":
            raise ValueError("`compile: reduce-overhead` means CUDA graphs, which a CPU has not; use `default`")
        return self

    @property
    def epochs(self) -> int | None:
        """Lightning's ``max_epochs``: -1 when only ``max_steps`` ends the training."""
        if self.max_epochs is not None:
            return self.max_epochs
        return -1 if self.max_steps is not None else 10
