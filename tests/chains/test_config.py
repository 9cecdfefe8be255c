"""The YAML file of a chain: what it must contain, and how its mistakes are reported."""

from pathlib import Path

import pytest

from hpc_dl.chains.config import earlier, read
from hpc_dl.errors import ConfigError
from tests.conftest import PROJECT

TRAIN = "a: {train: mlp-digits}"


@pytest.mark.parametrize("path", sorted((PROJECT / "configs" / "chains").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_chains_are_valid(path: Path) -> None:
    assert read(path).steps


def test_steps_wait_for_those_whose_model_they_use_and_those_they_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        'steps:\n  a: {train: x}\n  b: {train: x}\n  c: {train: x, set: {model.init_from: "@b"}, after: [a]}\n'
        '  d: {evaluate: "@c", split: val}\n  e: {train: x, set: {model.init_from: weights.pt}}\n'
    )
    chain = read(tmp_path / "mine.yaml")
    assert chain.name == "mine"
    assert {name: earlier(step) for name, step in chain.steps.items()} == {
        "a": [], "b": [], "c": ["b", "a"], "d": ["c"], "e": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {source: digits}", "is not a chain"),
        ("steps: {}", "is not a chain"),
        (f"steps: {{{TRAIN}}}\nstep: 1", "step: unknown key"),
        (f"name: a/b\nsteps: {{{TRAIN}}}", "name: cannot be part of a run's name"),
        (f"steps: {{{TRAIN}, b: {{}}}}", "steps.b: needs exactly one of train, evaluate, export"),
        (f"steps: {{{TRAIN}, b: {{train: x, evaluate: a}}}}", "steps.b: needs exactly one of"),
        (f"steps: {{{TRAIN}, b: {{evaluate: a, splt: val}}}}", "steps.b.splt: unknown key"),
        (f"steps: {{{TRAIN}, b: {{evaluate: c}}}}", "steps.b: refers to no step above it (got 'c'; allowed: a)"),
        ("steps: {b: {evaluate: a}, a: {train: x}}", "steps.b: refers to no step above it (got 'a'"),
        (f'steps: {{{TRAIN}, b: {{train: x, set: {{model.init_from: "@c"}}}}}}', "refers to no step above it (got 'c'"),
        (f"steps: {{{TRAIN}, b: {{evaluate: a}}, c: {{export: b, out: x}}}}", "steps.c: uses the model of a step that"),
        (f"steps: {{{TRAIN}, b: {{export: a}}}}", "steps.b.out: is required"),
    ],
)
def test_mistakes_are_named_with_their_step(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "x.yaml")
    assert any(message in str(fault) for fault in caught.value.faults), caught.value
