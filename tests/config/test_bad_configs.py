"""The table of bad configurations: each is refused with exit status 2 and a line that says where,
what and why."""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl.data.spec import TASKS
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LOSSES
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.nn.activations import ACTIVATIONS
from tests import experiments
from tests.config.conftest import Validate

SECTIONS = "name, seed, data, model, loss, metrics, optimizer, schedule, trainer, checkpoint, resources, wandb"
TRAINER = (
    "max_epochs, max_steps, early_stopping, precision, accelerator, strategy, gradient_clip_val, "
    "gradient_clip_algorithm, accumulate_grad_batches, limit_train_batches, limit_val_batches, limit_test_batches, "
    "val_check_interval, check_val_every_n_epoch, num_sanity_val_steps, log_every_n_steps, stall_timeout, compile, "
    "channels_last, deterministic, benchmark, sync_batchnorm, detect_anomaly"
)
DATA = (
    "source, file, inputs, targets, windows, crop, splits, task, channels, batch_size, global_batch_size, shuffle, "
    "shuffle_buffer, device_resident, imputation, missing_indicator, scaling, projection, components, "
    "balance, augmentation"
)
ACTIVATION_NAMES = ", ".join(ACTIVATIONS)
LOSS_NAMES = ", ".join(["auto", *LOSSES])
FOR_CLASSES = ", ".join(COMPATIBLE_LOSSES["classification"])
PRECISIONS = "32-true, 16-mixed, bf16-mixed, bf16-true, 64-true"
OPTIMIZER_NAMES = ", ".join(OPTIMIZERS)
SCHEDULE_NAMES = ", ".join(SCHEDULES)
NAME = (
    "must be a word that is safe as a folder's name (got {}; allowed: letters, digits, '.', '_', '-', beginning with "
    "a letter or digit, at most 80)"
)
MAPPING = "must be a mapping of keys to values"
SEED = "must be an integer (got {}; allowed: 0 to 4294967295)"
CHOICE = "is not one of the allowed values"
SLURM_TIME = "must be a Slurm time: minutes, MM:SS, HH:MM:SS or D-HH:MM:SS"
INTERVAL = "must be `auto` or an interval with its unit: `500 steps`, `30 s`, `10 min`, `1 h`"
SIZE = "must be a size with its unit, for example 16G or 800M"

# (what is laid over a good experiment, the line or lines that must be told)
BAD: list[tuple[dict[str, Any], str | list[str]]] = [
    # Unknown keys, with the nearest
    ({"modle": {}}, f"modle: unknown key (allowed: {SECTIONS}). Did you mean 'model'?"),
    ({"partition": "gpu"}, f"partition: unknown key (allowed: {SECTIONS})"),
    ({"trainer": {"max_epoch": 3}}, f"trainer.max_epoch: unknown key (allowed: {TRAINER}). Did you mean 'max_epochs'?"),
    (
        {"model": {"name": "mlp", "widht": 3}},
        "model.widht: unknown key (allowed: name, init_from, freeze, init, depth, width, widths, norm, activation, "
        "dropout, bias). Did you mean 'width'?",
    ),
    (
        {"optimizer": {"name": "sgd", "beta1": 0.9}},
        "optimizer.beta1: unknown key (allowed: name, lr, weight_decay, fused, momentum, nesterov)",
    ),
    ({"data": {"batchsize": 3}}, f"data.batchsize: unknown key (allowed: {DATA}). Did you mean 'batch_size'?"),
    (
        {"data": {"splits": {"fractoins": {}}}},
        "data.splits.fractoins: unknown key (allowed: fractions, indices, groups). Did you mean 'fractions'?",
    ),
    (
        {"data": {"splits": {"fractions": {"trian": 0.2}}}},
        "data.splits.fractions.trian: unknown key (allowed: train, val, test, seed). Did you mean 'train'?",
    ),
    (
        {"resources": {"gpus": 1}},
        "resources.gpus: unknown key (allowed: nodes, gpus_per_node, cpus_per_gpu, memory, time, max_requeues)",
    ),
    ({"wandb": {"api_key": "s3cr3t"}}, "wandb.api_key: unknown key (allowed: project, entity, mode, group, tags)"),
    # Unknown names
    ({"model": {"name": "mpl"}}, "model.name: is not known (got 'mpl'; allowed: {models}). Did you mean 'mlp'?"),
    ({"model": {"name": 3}}, "model.name: is not known (got 3; allowed: {models})"),
    ({"model": {"name": ["mlp"]}}, "model.name: is not known (got ['mlp']; allowed: {models}). Did you mean 'mlp'?"),
    ({"model": {}}, "model.name: is required (allowed: {models})"),
    ({"model": None}, "model.name: is required (allowed: {models})"),
    (
        {"optimizer": {"name": "adma"}},
        f"optimizer.name: is not known (got 'adma'; allowed: {OPTIMIZER_NAMES}). Did you mean 'adam'?",
    ),
    (
        {"schedule": {"name": "cosin"}},
        f"schedule.name: is not known (got 'cosin'; allowed: {SCHEDULE_NAMES}). Did you mean 'cosine'?",
    ),
    (
        {"loss": {"name": "cross-entropy"}},
        f"loss.name: {CHOICE} (got 'cross-entropy'; allowed: {LOSS_NAMES}). Did you mean 'cross_entropy'?",
    ),
    (
        {"data": {"file": None, "source": "digit"}},
        "data.source: is not known (got 'digit'; allowed: {sources}). Did you mean 'digits'?",
    ),
    (
        {"model": {"name": "mlp", "activation": "rellu"}},
        f"model.activation: {CHOICE} (got 'rellu'; allowed: {ACTIVATION_NAMES}). Did you mean 'relu'?",
    ),
    (
        {"trainer": {"precision": "bf16"}},
        f"trainer.precision: {CHOICE} (got 'bf16'; allowed: {PRECISIONS}). Did you mean 'bf16-true'?",
    ),
    (
        {"data": {"task": "regresion"}},
        f"data.task: {CHOICE} (got 'regresion'; allowed: auto, {', '.join(TASKS)}). Did you mean 'regression'?",
    ),
    ({"checkpoint": {"every": "5 parsecs"}}, f"checkpoint.every: {INTERVAL} (got '5 parsecs')"),
    ({"checkpoint": {"every": "0 min"}}, f"checkpoint.every: {INTERVAL} (got '0 min')"),
    ({"checkpoint": {"every": "1.5 steps"}}, "checkpoint.every: must be a whole number of steps (got '1.5 steps')"),
    ({"checkpoint": {"every": 30}}, "checkpoint.every: must be a valid string (got 30)"),
    ({"resources": {"max_requeues": -1}}, "resources.max_requeues: must be greater than or equal to 0 (got -1)"),
    ({"trainer": {"stall_timeout": 0}}, "trainer.stall_timeout: must be greater than 0 (got 0)"),
    (
        {"checkpoint": {"mode": "maximum"}},
        f"checkpoint.mode: {CHOICE} (got 'maximum'; allowed: auto, min, max). Did you mean 'max'?",
    ),
    ({"wandb": {"mode": False}}, f"wandb.mode: {CHOICE} (got False; allowed: auto, online, offline, disabled)"),
    # Wrong types: nothing is converted in silence
    ({"model": {"name": "mlp", "width": "8"}}, "model.width: must be a valid integer (got '8')"),
    ({"model": {"name": "mlp", "width": 8.0}}, "model.width: must be a valid integer (got 8.0)"),
    ({"model": {"name": "mlp", "width": True}}, "model.width: must be a valid integer (got True)"),
    ({"model": {"name": "cnn", "channels": 8}}, "model.channels: must be a valid list (got 8)"),
    (
        {"model": {"name": "cnn", "channels": [8, "x", 0]}},
        [
            "model.channels.1: must be a valid integer (got 'x')",
            "model.channels.2: must be greater than or equal to 1 (got 0)",
        ],
    ),
    ({"model": "mlp"}, f"model: {MAPPING} (got 'mlp')"),
    ({"optimizer": [1]}, f"optimizer: {MAPPING} (got [1])"),
    ({"trainer": 3}, f"trainer: {MAPPING} (got 3)"),
    ({"loss": "mse"}, f"loss: {MAPPING} (got 'mse')"),
    ({"optimizer": {"name": "sgd", "lr": "1e-3"}}, "optimizer.lr: must be a valid number (got '1e-3')"),
    ({"optimizer": {"name": "sgd", "lr": None}}, "optimizer.lr: must be a valid number (got None)"),
    (
        {"trainer": {"deterministic": "yes"}},
        "trainer.deterministic: must be a valid boolean or one of the allowed values (got 'yes'; allowed: warn)",
    ),
    (
        {"trainer": {"limit_train_batches": "x"}},
        "trainer.limit_train_batches: must be a valid integer or a valid number (got 'x')",
    ),
    ({"resources": {"memory": 16}}, "resources.memory: must be a size with its unit, for example 16G or 800M (got 16)"),
    ({"resources": {"time": 1.5}}, "resources.time: must be a valid string or a valid integer (got 1.5)"),
    ({"wandb": {"tags": "x"}}, "wandb.tags: must be a valid list (got 'x')"),
    (
        {"data": {"splits": {"fractions": {"train": "x"}}}},
        "data.splits.fractions.train: must be a valid number (got 'x')",
    ),
    ({"seed": "0"}, "seed: " + SEED.format("'0'")),
    ({"seed": True}, "seed: " + SEED.format("True")),
    ({"name": 3}, "name: " + NAME.format("3")),
    # Out of range
    ({"seed": -1}, "seed: " + SEED.format("-1")),
    ({"seed": 2**32}, "seed: " + SEED.format(2**32)),
    ({"name": "../x"}, "name: " + NAME.format("'../x'")),
    ({"name": "a b"}, "name: " + NAME.format("'a b'")),
    ({"name": ""}, "name: " + NAME.format("''")),
    ({"name": "x" * 81}, "name: " + NAME.format(repr("x" * 81))),
    ({"optimizer": {"name": "sgd", "lr": 0}}, "optimizer.lr: must be greater than 0 (got 0)"),
    ({"optimizer": {"lr": -1.0}}, "optimizer.lr: must be greater than 0 (got -1.0)"),
    ({"optimizer": {"lr": float("nan")}}, "optimizer.lr: must be a finite number (got nan)"),
    ({"optimizer": {"lr": float("inf")}}, "optimizer.lr: must be a finite number (got inf)"),
    ({"optimizer": {"beta2": 1.0}}, "optimizer.beta2: must be less than 1 (got 1.0)"),
    ({"model": {"name": "mlp", "dropout": 1.0}}, "model.dropout: must be less than 1 (got 1.0)"),
    (
        {"model": {"name": "cnn", "channels": []}},
        "model.channels: List must have at least 1 item after validation, not 0 (got [])",
    ),
    (
        {"schedule": {"name": "cosine", "warmup_steps": -1}},
        "schedule.warmup_steps: must be greater than or equal to 0 (got -1)",
    ),
    ({"schedule": {"name": "cosine", "final": 2}}, "schedule.final: must be less than or equal to 1 (got 2)"),
    ({"schedule": {"name": "step"}}, "schedule.every: is required"),
    ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs: must be greater than or equal to 1 (got 0)"),
    ({"trainer": {"limit_val_batches": -1}}, "trainer.limit_val_batches: must be greater than or equal to 0 (got -1)"),
    (
        {"trainer": {"limit_train_batches": 1.5}},
        "trainer: `limit_train_batches` is a fraction of at most 1.0, or an integer number of batches; got 1.5",
    ),
    ({"trainer": {"gradient_clip_val": 0}}, "trainer.gradient_clip_val: must be greater than 0 (got 0)"),
    ({"data": {"batch_size": 0}}, "data.batch_size: must be greater than or equal to 1 (got 0)"),
    ({"data": {"shuffle_buffer": 0}}, "data.shuffle_buffer: must be greater than 0 (got 0)"),
    ({"resources": {"nodes": 0}}, "resources.nodes: must be greater than or equal to 1 (got 0)"),
    ({"resources": {"gpus_per_node": -1}}, "resources.gpus_per_node: must be greater than or equal to 0 (got -1)"),
    ({"resources": {"time": "1 day"}}, f"resources.time: {SLURM_TIME} (got '1 day')"),
    ({"resources": {"time": -5}}, f"resources.time: {SLURM_TIME} (got -5)"),
    (
        {"resources": {"time": "25:61:00"}},
        "resources.time: must be a Slurm time with at most 59 minutes and seconds after a colon (got '25:61:00')",
    ),
    ({"resources": {"time": "0"}}, "resources.time: must be longer than zero (got '0')"),
    ({"resources": {"memory": "16"}}, f"resources.memory: {SIZE} (got '16')"),
    ({"resources": {"memory": "0G"}}, f"resources.memory: {SIZE} (got '0G')"),
    # What Lightning's users bring along
    (
        {"trainer": {"devices": 3, "logger": False}},
        "trainer: `devices` is not set here: resources.gpus_per_node says it; `logger` is not set here: the journal "
        "always logs; see the wandb section for W&B",
    ),
    # Impossible combinations
    (
        {"data": {"source": "digits"}},
        "data: give exactly one of `source` (a name from `hpc-dl data list`) and `file` (a path)",
    ),
    ({"data": None}, "data: give exactly one of `source` (a name from `hpc-dl data list`) and `file` (a path)"),
    (
        {"data": {"global_batch_size": 8}},
        "data: `batch_size` and `global_batch_size` exclude each other; keep one of them",
    ),
    (
        {"data": {"batch_size": None, "global_batch_size": 9}, "resources": {"nodes": 2}},
        "data.global_batch_size: cannot be shared evenly by 2 ranks (resources: 2 nodes × 1) (got 9; allowed: a "
        "multiple of 2)",
    ),
    (
        {"data": {"splits": {"fractions": {}, "groups": {}}}},
        "data.splits: fractions and groups exclude each other; keep one of them (got {'fractions': {}, 'groups': {}})",
    ),
    (
        {"data": {"splits": {"fractions": {"train": 0.8, "val": 0.3}}}},
        "data.splits.fractions: the fractions add up to 1.2, more than 1; lower one of them "
        "(got {'train': 0.8, 'val': 0.3})",
    ),
    (
        {"trainer": {"accelerator": "gpu"}},
        "trainer.accelerator: needs a GPU, but resources.gpus_per_node is 0 (got 'gpu'; allowed: auto, cpu). Ask for "
        "GPUs with resources.gpus_per_node",
    ),
    (
        {"optimizer": {"name": "sgd", "nesterov": True}},
        "optimizer: `nesterov` needs a `momentum` above 0, for example 0.9",
    ),
    (
        {"schedule": {"name": "plateau", "warmup_steps": 5}},
        "schedule.warmup_steps: unknown key (allowed: name, monitor, mode, factor, patience, threshold, final)",
    ),
    (
        {"schedule": {"name": "one_cycle", "warmup_steps": 5}},
        "schedule.warmup_steps: unknown key (allowed: name, rise, initial, final)",
    ),
    # What only the data can tell
    (
        {"loss": {"class_weights": [1, 2]}},
        "loss.class_weights: must have one weight for each of the 3 classes of {file} (got [1.0, 2.0])",
    ),
    (
        {"loss": {"name": "hinge", "label_smoothing": 0.1}},
        "loss.label_smoothing: has no effect with hinge (loss.name) (got 0.1; allowed: 0, or one of the losses "
        "cross_entropy, cross_entropy_dice)",
    ),
    (
        {"data": {"file": "/no/such.h5"}},
        "/no/such.h5: there is no such file. Check `data.file`, or make the file first (`hpc-dl data make`)",
    ),
    (
        {"data": {"inputs": "input"}},
        "{file}:/train/input: there is no such dataset (allowed: /test/inputs, /test/targets, /train/inputs, "
        "/train/targets, /val/inputs, /val/targets). Correct `data.inputs`; did you mean '/train/inputs'?",
    ),
    (
        {"data": {"batch_size": 49}},
        "data.batch_size: the training split of {file} has 48 samples, too few for one batch of 49 on each of 1 ranks "
        "(got 49; allowed: at most 48)",
    ),
    (
        {"data": {"batch_size": None, "global_batch_size": 60}, "resources": {"nodes": 3}},
        "data.global_batch_size: the training split of {file} has 48 samples, too few for one batch of 20 on each of "
        "3 ranks (got 20; allowed: at most 16)",
    ),
    (
        {"data": {"batch_size": 1}, "resources": {"nodes": 12}},
        "resources: the test split of {file} has 11 samples, fewer than the 12 ranks. Ask for fewer GPUs, or make the "
        "split larger",
    ),
    (
        {"loss": {"name": "mse"}},
        f"loss.name: does not fit the task classification (data.task) of {{file}} (got 'mse'; allowed: {FOR_CLASSES})",
    ),
    (
        {"checkpoint": {"monitor": "val/acc"}},
        "checkpoint.monitor: is not a metric of this task (got 'val/acc'; allowed: val/loss, val/accuracy, "
        "val/balanced_accuracy, val/f1)",
    ),
    (
        {"data": {"balance": "oversample"}, "loss": {"class_weights": "balanced"}},
        "loss.class_weights: has no effect where data.balance=oversample makes all classes equally frequent (got "
        "'balanced'). Keep one of the two",
    ),
    (
        {"trainer": {"limit_train_batches": 0.1}},
        "trainer.limit_train_batches: leaves no batch to train on (got 0.1). Raise it, or lower data.batch_size",
    ),
    (
        {"trainer": {"limit_val_batches": 0.4}},
        "trainer.limit_val_batches: leaves none of the 2 val batches (got 0.4; allowed: 0 for none, at least 0.5, or "
        "an integer number of batches)",
    ),
    (
        {"trainer": {"limit_test_batches": 0.4}},
        "trainer.limit_test_batches: leaves none of the 2 test batches (got 0.4; allowed: 0 for none, at least 0.5, "
        "or an integer number of batches)",
    ),
    (
        {"trainer": {"val_check_interval": 7}},
        "trainer.val_check_interval: an epoch has 6 batches only (got 7; allowed: at most 6 batches, or a fraction of "
        "an epoch)",
    ),
    (
        {"model": {"name": "cnn", "channels": [4, 4, 4, 4]}},
        [
            "model.channels: has too many blocks: nothing remains of 8×8 inputs after 4 blocks (got "
            "[4, 4, 4, 4]; allowed: at most 3 blocks)",
        ],
    ),
    # A user's own model
    (
        {"model": {"class": "Net"}},
        "model.class: must be an import path such as my_package.my_module.MyModel (got 'Net')",
    ),
    ({"model": {"class": "a.Net", "name": "mlp"}}, f"model.name: {CHOICE} (got 'mlp'; allowed: custom)"),
    (
        {"model": {"class": "no_such_package.nets.Net"}},
        "model.class: cannot import no_such_package.nets: ModuleNotFoundError: No module named 'no_such_package' "
        "(got 'no_such_package.nets.Net'). Start hpc-dl in the folder that holds your package, or install it",
    ),
    # Everything at once
    (
        {
            "seed": -1,
            "modle": {},
            "optimizer": {"name": "adma"},
            "trainer": {"max_epoch": 1, "max_steps": 0},
            "resources": {"time": "soon", "memory": "much"},
        },
        [
            f"modle: unknown key (allowed: {SECTIONS}). Did you mean 'model'?",
            "seed: " + SEED.format("-1"),
            f"optimizer.name: is not known (got 'adma'; allowed: {OPTIMIZER_NAMES}). Did you mean 'adam'?",
            "trainer.max_steps: must be greater than or equal to 1 (got 0)",
            f"trainer.max_epoch: unknown key (allowed: {TRAINER}). Did you mean 'max_epochs'?",
            f"resources.memory: {SIZE} (got 'much')",
            f"resources.time: {SLURM_TIME} (got 'soon')",
        ],
    ),
    (
        {
            "data": {"batch_size": 100},
            "loss": {"name": "huber"},
            "trainer": {"limit_val_batches": 0.1},
        },
        [
            "data.batch_size: the training split of {file} has 48 samples, too few for one batch of 100 on each of "
            "1 ranks (got 100; allowed: at most 48)",
            "trainer.limit_val_batches: leaves none of the 1 val batches (got 0.1; allowed: 0 for none, at least 1, "
            "or an integer number of batches)",
            "loss.name: does not fit the task classification (data.task) of {file} (got 'huber'; "
            f"allowed: {FOR_CLASSES})",
        ],
    ),
]


@pytest.mark.parametrize(("sections", "told"), BAD, ids=[repr(sections)[:60] for sections, _ in BAD])
def test_a_bad_configuration_is_refused(
    sections: dict[str, Any], told: str | list[str], validate: Validate, image_file: Path
) -> None:
    from hpc_dl import models
    from hpc_dl.data import sources

    lines = [told] if isinstance(told, str) else told
    known = {"{file}": str(image_file), "{models}": ", ".join(models.names()), "{sources}": ", ".join(sources.names())}
    for mark, text in known.items():
        lines = [line.replace(mark, text) for line in lines]
    assert validate(experiments.raw(image_file, **sections)) == (2, [f"hpc-dl: {line}" for line in lines])


def test_the_experiment_that_the_table_spoils_is_good(validate: Validate, image_file: Path) -> None:
    assert validate(experiments.raw(image_file)) == (0, [])


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("- a\n", [], f"the experiment: must be a mapping of sections (got ['a']; allowed: {SECTIONS})"),
        ("just words\n", [], f"the experiment: must be a mapping of sections (got 'just words'; allowed: {SECTIONS})"),
        ("seed: 1\nname: a\nseed: 2\n", [], 'bad.yaml, line 3: duplicate key "seed". Keep one of the two'),
        ("a: [1", [], "bad.yaml, line 1, column 6: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed: 1\n", ["lr"], "lr: is not an override (allowed: key=value, for example optimizer.lr=1e-3)"),
        ("seed: 1\n", ["seed.x=3"], "seed.x: seed is not a section (got 1)"),
    ],
)
def test_bad_text_and_bad_overrides(text: str, words: list[str], told: str, validate: Validate) -> None:
    assert validate(text, *words) == (2, [f"hpc-dl: {told}"])


def test_an_empty_file_lacks_two_things(validate: Validate) -> None:
    status, lines = validate("")
    assert status == 2
    assert [line.split(" (")[0] for line in lines] == [
        "hpc-dl: data: give exactly one of `source`",
        "hpc-dl: model.name: is required",
    ]


def test_images_are_needed_for_a_convolution_and_classes_for_a_cross_entropy(
    validate: Validate, value_file: Path
) -> None:
    content = experiments.raw(value_file, model={"name": "cnn"}, loss={"name": "cross_entropy"})
    assert validate(content) == (
        2,
        [
            f"hpc-dl: loss.name: does not fit the task regression (data.task) of {value_file} "
            f"(got 'cross_entropy'; allowed: {', '.join(COMPATIBLE_LOSSES['regression'])})"
        ],
    )
    assert validate(experiments.raw(value_file, model={"name": "cnn"})) == (
        2,
        [
            f"hpc-dl: model.name: does not support inputs of the kind vector (inputs (5,)), which {value_file} "
            "contains (got 'cnn'; allowed: inputs of the kinds series, image, volume). "
            "Choose another architecture; `hpc-dl models NAME` shows the supported inputs"
        ],
    )


def test_a_secret_in_the_wrong_place_is_not_repeated(validate: Validate, image_file: Path) -> None:
    _, lines = validate(experiments.raw(image_file, wandb={"api_key": "0123456789abcdef"}))
    assert "0123456789abcdef" not in "\n".join(lines)
