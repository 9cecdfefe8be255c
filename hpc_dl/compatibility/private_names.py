"""Every private or undocumented name of other packages that hpc_dl uses, and the tested versions.

No other private name may be used: a test compares this list with the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrivateNames:
    """Private or undocumented names of one package that are used for one reason.

    Attributes:
        package: name of the distribution, as in pyproject.toml.
        reason: what hpc_dl does with them; completes "which hpc_dl needs to …".
        names: where to find them, each in one of three forms: ``module:attribute.attribute`` is
            imported; ``instance():attribute`` is looked up on the smallest instance, since it
            exists on instances only; ``module`` is found, but not imported.
        only_plain_step: without them a training uses Lightning's own step.
    """

    package: str
    reason: str
    names: tuple[str, ...]
    only_plain_step: bool = False


#: Tested versions of the packages with private names: at least the first, below the second.
TESTED: dict[str, tuple[str, str]] = {
    "torch": ("2.11", "3"),
    "pytorch-lightning": ("2.6", "2.7"),
    "torchmetrics": ("1.5", "1.10"),
    "submitit": ("1.5.4", "1.6"),
    "wandb": ("0.31", "0.32"),
    "h5py": ("3.12.1", "4"),
}

#: What a training needs; W&B only where it is not disabled.
OF_TRAINING = ("torch", "pytorch-lightning", "torchmetrics", "h5py")


def _each(prefix: str, names: str) -> tuple[str, ...]:
    """The names after a common prefix."""
    return tuple(f"{prefix}{name}" for name in names.split())


_RESULT = "pytorch_lightning.trainer.connectors.logger_connector.result:"
_EPOCH_LOOP = "pytorch_lightning.loops.training_epoch_loop:_TrainingEpochLoop"

PRIVATE_NAMES: tuple[PrivateNames, ...] = (
    PrivateNames(
        "torch",
        "clip scaled 16-bit gradients before a fused optimizer",
        ("torch.optim.Adam():_step_supports_amp_scaling",),
    ),
    PrivateNames(
        "torch",
        "recognize in a stack that a rank waits for other ranks or for its loader",
        (
            "torch.distributed.distributed_c10d:__file__",
            "torch.distributed.rendezvous:__file__",
            "torch.utils.data.dataloader:_BaseDataLoaderIter.__next__",
        ),
    ),
    PrivateNames("torch", "recognize the errors of a compilation", ("torch._dynamo", "torch._inductor")),
    PrivateNames(
        "pytorch-lightning",
        "stop and resume between two batches",
        (
            "pytorch_lightning.loops.fit_loop:_FitLoop.done",
            *_each(f"{_EPOCH_LOOP}.", "run on_run_start advance on_advance_end done update_lr_schedulers"),
            *_each(f"{_EPOCH_LOOP}.", "_should_check_val_epoch _should_check_val_fx _should_accumulate"),
            *_each(f"{_EPOCH_LOOP}.", "_save_loggers_on_train_batch_end _broadcast_sigterm_tensor"),
            *_each("Trainer():fit_loop.epoch_loop.", "_batches_that_stepped batch_progress.current.ready"),
            *_each("Trainer():fit_loop.epoch_loop.batch_progress.current.", "started processed"),
            *_each("Trainer():fit_loop.epoch_loop.", "_restarting _loaded_from_state_dict _resuming_from_checkpoint"),
            *_each("Trainer():fit_loop.epoch_loop.", "val_loop automatic_optimization manual_optimization"),
            *_each("Trainer():fit_loop.", "epoch_progress min_epochs max_epochs _data_fetcher"),
            "pytorch_lightning.loops.fetchers:_DataFetcher",
            *_each("_PrefetchDataFetcher():", "fetched done length"),
        ),
    ),
    PrivateNames(
        "pytorch-lightning",
        "keep Lightning's signal handlers away",
        (
            "pytorch_lightning.trainer.connectors.signal_connector:_SignalConnector.register_signal_handlers",
            "pytorch_lightning.trainer.connectors.signal_connector:_SignalConnector.teardown",
            "Trainer():_signal_connector",
        ),
    ),
    PrivateNames(
        "pytorch-lightning",
        "write what a module logs with the step of all other rows",
        (
            "pytorch_lightning.trainer.connectors.logger_connector:_LoggerConnector.log_metrics",
            "pytorch_lightning.trainer.connectors.logger_connector:_LoggerConnector.should_update_logs",
            "pytorch_lightning.trainer.connectors.logger_connector.logger_connector:convert_tensors_to_scalars",
            "Trainer():_logger_connector._logged_metrics",
        ),
    ),
    PrivateNames("pytorch-lightning", "save a checkpoint", ("Trainer():_checkpoint_connector.dump_checkpoint",)),
    PrivateNames(
        "pytorch-lightning",
        "restore what self.log has accumulated in an epoch",
        (
            *_each(_RESULT, "_Metadata.sync _Sync.should _ResultCollection.log _ResultMetric"),
            *_each("_Metadata():", "fx name reduce_fx _sync"),
            *_each("_Sync():", "fn _should rank_zero_only group"),
            *_each("_ResultCollection():", "training batch batch_size dataloader_idx"),
            *_each(
                "_ResultMetric():", "meta value is_tensor has_reset _defaults _update_count _forward_cache _computed"
            ),
            *_each("Trainer():_logger_connector.", "_callback_metrics _logged_metrics _progress_bar_metrics"),
            *_each("Trainer():_logger_connector.", "_first_loop_iter _current_fx"),
            "Trainer():fit_loop.epoch_loop._results",
        ),
    ),
    PrivateNames(
        "pytorch-lightning",
        "rebuild DDP's buckets before a resumed training continues",
        (
            "pytorch_lightning.trainer.call:_call_strategy_hook",
            "pytorch_lightning:LightningModule._on_before_batch_transfer",
            "Trainer():_logger_connector.on_batch_start",
            "Trainer():fit_loop.epoch_loop._build_kwargs",
            "Trainer():fit_loop.epoch_loop.automatic_optimization._make_closure",
            "Trainer():fit_loop.epoch_loop.manual_optimization.run",
        ),
    ),
    PrivateNames(
        "pytorch-lightning",
        "make a step without the overhead of Lightning's own",
        (
            "pytorch_lightning.loops.fetchers:_DataLoaderIterDataFetcher",
            "pytorch_lightning.loops.optimization.automatic:ClosureResult.from_training_step_output",
            "pytorch_lightning:LightningModule._on_before_batch_transfer",
            "LightningModule():_current_fx_name",
            "DDPStrategy():_model_averager",
            "Trainer():_data_connector._datahook_selector",
            *_each("Trainer():_logger_connector.", "_first_loop_iter on_batch_end update_train_step_metrics"),
            *_each("Trainer():fit_loop.epoch_loop.", "_num_ready_batches_reached _warning_cache scheduler_progress"),
            *_each("Trainer():fit_loop.epoch_loop.automatic_optimization.", "_skip_backward optim_progress.optimizer"),
        ),
        only_plain_step=True,
    ),
    PrivateNames(
        "torchmetrics",
        "resume a metric in the middle of an epoch",
        (
            *_each(
                "MeanMetric():", "_defaults _update_count _is_synced _cache _forward_cache _computed compute_on_cpu"
            ),
            *_each("MetricCollection():", "_groups _groups_checked _state_is_copy _enable_compute_groups"),
            *_each("MinMaxMetric():", "min_val max_val"),
            "Running():_num_vals_seen",
        ),
    ),
    PrivateNames(
        "submitit",
        "write a batch script where there is no Slurm",
        _each("submitit:SlurmExecutor.", "_make_submission_file_text _submitit_command_str affinity"),
    ),
    PrivateNames(
        "submitit",
        "read the number and the cluster of a job in sbatch's answer",
        _each("submitit:SlurmExecutor.", "_get_job_id_from_submission_command _make_submission_command"),
    ),
    PrivateNames("submitit", "submit a job array of runs", ("submitit:SlurmExecutor._submit_command",)),
    PrivateNames("submitit", "wait for a run in the background", ("LocalJob():_process",)),
    PrivateNames(
        "wandb",
        "find the server and the key of W&B as its own client does",
        (
            *_each("wandb.sdk.lib.wbauth:", "authenticate_session AuthApiKey"),
            "wandb.sdk.wandb_setup:singleton",
            "wandb.apis.public.service_api:ServiceApi.access_token",
            *_each("Settings():", "base_url app_url entity http_proxy https_proxy insecure_disable_ssl"),
            "Settings():x_extra_http_headers",
        ),
    ),
    PrivateNames(
        "wandb",
        "record what a module logs to W&B",
        (
            "wandb.sdk.data_types.utils:history_dict_to_json",
            *_each("wandb.sdk.lib.module:", "set_global unset_globals"),
            "wandb.sdk.wandb_metric:Metric",
            "wandb.sdk.wandb_config:Config._set_callback",
        ),
    ),
    PrivateNames("h5py", "decode LZF without h5py's lock", ("h5py.h5z as a shared library():lzf_filter",)),
)
