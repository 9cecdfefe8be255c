"""``trainer.compile`` and ``trainer.channels_last``: same results, same names, resumable."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.errors import ClusterError, ConfigError, Stopped
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training import attempt as attempt_module
from hpc_dl.training.compiling import compile_forward, match_layouts, use_channels_last
from tests import experiments
from tests.training import modules
from tests.training.attempts import Stop, attempt, finish

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
CNN = {"name": "cnn", "channels": [4, 4], "hidden": 8, "dropout": 0.5}


def prepared(folder: Path, file: Path, model: dict[str, Any] = CNN, **trainer: Any) -> RunFolder:
    sections = {"optimizer": {"name": "adam", "lr": 0.01}, "trainer": {"max_epochs": 2, **trainer}}
    return experiments.prepared(folder, experiments.raw(file, model=model, **sections))


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    result: dict[str, torch.Tensor] = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return result


@needs_compiler
@pytest.mark.slow
def test_compiled_training_gives_the_same_result_and_resumes_exactly(tmp_path: Path, image_file: Path) -> None:
    model = {**CNN, "dropout": 0.0}
    plain = finish(prepared(tmp_path / "plain", image_file, model))
    compiled = finish(prepared(tmp_path / "compiled", image_file, model, compile="default"))
    assert weights(plain).keys() == weights(compiled).keys()
    for name, value in weights(compiled).items():
        torch.testing.assert_close(value, weights(plain)[name], rtol=1e-3, atol=1e-4)
    stopped = prepared(tmp_path / "stopped", image_file, model, compile="default")
    assert differences(finish(stopped, Stop(4), Stop(9)), compiled) == []


@needs_compiler
@pytest.mark.slow
def test_children_are_compiled_without_a_forward(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules.enter(monkeypatch)
    model = {"class": "expects_compiled_layer.Net"}
    run = finish(prepared(tmp_path, image_file, model, compile="default"), Stop(4))
    assert list(weights(run)) == ["layer.weight", "layer.bias"]


class LinearModule(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x)
        return result


def test_only_calls_that_compile_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the calls are counted here, so that nothing needs to be compiled.
    monkeypatch.setattr(torch, "compile", lambda call, mode: call)
    model, compiled = LinearModule(), []

    @contextmanager
    def compiling() -> Iterator[None]:
        compiled.append(len(compiled))
        yield

    compile_forward(model, "default", compiling)
    for size in (3, 3, 2, 3, 2):
        model(torch.ones(size, 4))
    assert len(compiled) == 2
    model.eval()
    model(torch.ones(3, 4))
    assert len(compiled) == 3
    assert list(model.state_dict()) == ["layer.weight", "layer.bias"]


def test_compilation_failure_is_one_line() -> None:
    def refuse(*_: Any) -> Any:
        raise torch._dynamo.exc.Unsupported("nothing works\nand a trace")

    model = LinearModule()
    compile_forward(model, "default", pytest.MonkeyPatch.context)  # type: ignore[arg-type]
    model.forward._call = refuse  # type: ignore[attr-defined]
    with pytest.raises(
        ClusterError, match=r"trainer.compile: torch cannot compile LinearModule: nothing works. Set it to off$"
    ):
        model(torch.ones(2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_resumes_with_another_layout(
    tmp_path: Path, image_file: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fused optimizers assume the same strides for a parameter and its state.
    monkeypatch.setattr(attempt_module, "CPUAccelerator", pl.accelerators.CUDAAccelerator)  # as on a GPU
    run = prepared(tmp_path / "changed", image_file, channels_last=before)
    content = run.config.read_text()
    assert attempt(run, Stop(6)) == Stopped.exit_status
    setting = f"channels_last: {str(before).lower()}"
    assert setting in content
    run.config.write_text(content.replace(setting, f"channels_last: {str(not before).lower()}"))
    finish(run)
    reference = finish(prepared(tmp_path / "same", image_file, channels_last=before))
    for name, value in weights(run).items():
        torch.testing.assert_close(value, weights(reference)[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_channels_last_is_ignored_on_the_cpu(tmp_path: Path, image_file: Path) -> None:
    run = finish(prepared(tmp_path, image_file, channels_last=True, max_epochs=1))
    assert "trainer.channels_last is ignored on the CPU" in run.log(0).read_text()
    assert all(value.is_contiguous() for value in weights(run).values())


def test_layouts_of_weights_and_optimizer_states() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv3d(2, 4, 3), torch.nn.LazyConv2d(5, 3))
    before = {name: value.clone() for name, value in model[:2].state_dict().items()}
    use_channels_last(model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(value, before[name]) for name, value in model[:2].state_dict().items())
    parameter = model[0].weight
    optimizer = torch.optim.Adam([parameter])
    average = torch.randn(parameter.shape)
    optimizer.state[parameter] = {"step": torch.tensor(3.0), "exp_avg": average.clone()}
    match_layouts([optimizer])
    state = optimizer.state[parameter]
    assert state["exp_avg"].stride() == parameter.stride() and torch.equal(state["exp_avg"], average)
    assert float(state["step"]) == 3.0


def test_cuda_graphs_need_a_gpu(tmp_path: Path, image_file: Path) -> None:
    with pytest.raises(ConfigError, match="CUDA graphs"):
        prepared(tmp_path, image_file, compile="reduce-overhead", accelerator="cpu")
