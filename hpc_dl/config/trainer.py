"""The ``trainer`` section: arguments of Lightning's Trainer that an experiment may set."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpc_dl.schema import Section, Unit

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]
OnNan = Literal["stop", "continue"]
Limit = Annotated[int | float, Field(ge=0)]

# Arguments of Lightning's Trainer that are set elsewhere.
_SET_ELSEWHERE = {
    "devices": "use resources.gpus_per_node",
    "num_nodes": "use resources.nodes",
    "logger": "the journal always logs; use the wandb section for W&B",
    "callbacks": "return them from configure_callbacks of your own LightningModule",
    "default_root_dir": "files go to the run folder; choose its parent with --runs",
    "enable_progress_bar": "a terminal gets a progress bar, a log file gets plain lines",
    "enable_checkpointing": "checkpoints are always written",
}


class EarlyStopping(Section):
    """End the training when ``checkpoint.monitor`` no longer improves."""

    patience: Annotated[int, Field(ge=1), Unit("validations")] = 10
    """Stop after this many validations in a row without an improvement."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change of the metric that counts as an improvement, in units of the metric."""


class TrainerConfig(Section):
    """How long and how to train. Most keys are the arguments of Lightning's ``Trainer``."""

    max_epochs: Annotated[int | None, Field(ge=1), Unit("epochs")] = None
    """Stop after this many epochs. 10 if neither this nor ``max_steps`` is given."""
    max_steps: Annotated[int | None, Field(ge=1), Unit("optimizer steps")] = None
    """Stop after this many optimizer steps."""
    early_stopping: EarlyStopping | None = None
    """Stop earlier if validation no longer improves; ``{}`` uses the default patience. Schedules
    of the learning rate still cover the full length."""
    precision: Precision = "32-true"
    """Number format of the computation. ``bf16-mixed`` is faster on recent GPUs."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device type. ``auto``: GPU if there is one, else CPU. ``gpu`` fails without a GPU."""
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    """How several ranks train together. ``auto``: DDP if there is more than one rank."""
    gradient_clip_val: Annotated[float | None, Field(gt=0)] = None
    """Largest gradient; larger ones are clipped. No clipping by default."""
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    """What is clipped: the norm of the gradients of all parameters, or each single value."""
    accumulate_grad_batches: Annotated[int, Field(ge=1), Unit("batches")] = 1
    """Number of batches whose gradients are accumulated for one optimizer step."""
    limit_train_batches: Limit = 1.0
    """Training batches per epoch: ``20`` for 20 batches, ``0.2`` for 20% of them."""
    limit_val_batches: Limit = 1.0
    """Batches per validation: ``20`` for 20 batches, ``0.2`` for 20% of them."""
    limit_test_batches: Limit = 1.0
    """Test batches: ``20`` for 20 batches, ``0.2`` for 20% of them."""
    val_check_interval: Annotated[int | float, Field(gt=0)] = 1.0
    """Time between validations: ``20`` for 20 training batches, ``0.2`` for 20% of an epoch."""
    check_val_every_n_epoch: Annotated[int, Field(ge=1), Unit("epochs")] = 1
    """Epochs between validations."""
    num_sanity_val_steps: Annotated[int, Field(ge=0), Unit("batches")] = 2
    """Number of validation batches that are tried before the training, to find errors early."""
    log_every_n_steps: Annotated[int, Field(ge=1), Unit("optimizer steps")] = 50
    """Steps between two rows of training metrics."""
    on_nan: OnNan = "stop"
    """What to do when the training diverges: its loss or its weights are NaN or infinite. ``stop``:
    end it with the state ``diverged``; earlier checkpoints are kept. ``continue``: print a message
    and train on."""
    figures: bool = True
    """Record frames of some models while they train, and draw up to four figures of a finished run
    into its folder; ``hpc-dl figures`` draws all."""
    step_times: bool = False
    """Measure how long the steps wait for data and for communication, into ``step-times.json`` in
    the run folder (``hpc-dl scale`` uses it). The device is synchronized once per step."""
    stall_timeout: Annotated[float | None, Field(gt=0), Unit("minutes")] = 10.0
    """End the job if a rank makes no progress for this long; the message names the rank.
    ``null``: wait without limit."""
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    """Mode of ``torch.compile`` for the network. The first steps then take minutes."""
    channels_last: bool = False
    """Store convolution weights with channels last, which is faster on recent GPUs with
    ``bf16-mixed``; ignored on the CPU."""
    deterministic: bool | Literal["warn"] = False
    """Use only deterministic GPU operations (slower). ``warn``: warn where there is none. CPU
    training is always deterministic."""
    benchmark: bool = False
    """Let cuDNN search for the fastest convolutions; worthwhile if input shapes are constant."""
    sync_batchnorm: bool = False
    """Compute batch normalization over the batches of all ranks (GPU only)."""
    detect_anomaly: bool = False
    """Find the operation that produced a NaN (slow)."""

    @model_validator(mode="before")
    @classmethod
    def _reject_keys_set_elsewhere(cls, raw: Any) -> Any:
        problems = [f"`{key}` cannot be set here: {_SET_ELSEWHERE[key]}" for key in raw if key in _SET_ELSEWHERE]
        if problems:
            raise ValueError("; ".join(problems))
        return raw

    @model_validator(mode="after")
    def _check_fractions(self) -> TrainerConfig:
        for key in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval"):
            value = getattr(self, key)
            if isinstance(value, float) and value > 1:
                raise ValueError(
                    f"`{key}` must be a fraction of at most 1.0 or an integer number of batches; got {value}"
                )
        return self

    @model_validator(mode="after")
    def _check_cuda_graphs(self) -> TrainerConfig:
        if self.compile == "reduce-overhead" and self.accelerator == "cpu":
            raise ValueError("`compile: reduce-overhead` uses CUDA graphs, which need a GPU; use `default`")
        return self

    @property
    def epochs(self) -> int | None:
        """Lightning's ``max_epochs``; -1 (no limit) if only ``max_steps`` is given."""
        if self.max_epochs is not None:
            return self.max_epochs
        return -1 if self.max_steps is not None else 10
