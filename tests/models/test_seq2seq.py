"""Sequence to sequence: teacher forcing, greedy generation, and padding."""

from dataclasses import replace

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.seq2seq import Seq2Seq, Seq2SeqConfig
from tests.experiments import spec, training_recipe
from tests.learning.test_supervised import quiet_trainer

WORDS = replace(
    spec(),
    task="sequence_to_sequence",
    num_outputs=5,
    inputs=(FieldSpec("inputs", (), "uint8", ragged=True),),
    targets=(FieldSpec("targets", (), "int64", ragged=True),),
)
END = 5


def ragged(*rows: list[int]) -> Ragged:
    lengths = torch.tensor([0, *map(len, rows)])
    return Ragged(torch.tensor([symbol for row in rows for symbol in row], dtype=torch.int64), lengths.cumsum(0))


X = ragged([1, 2, 3], [4], [0, 0, 4, 1])
Y = ragged([3, 2, 1], [4, 4], [])


def seq2seq(**options: object) -> Seq2Seq:
    torch.manual_seed(0)
    config = Seq2SeqConfig.model_validate(Seq2SeqConfig.small | options)
    return config.build(WORDS, training_recipe(WORDS)).eval()  # type: ignore[return-value]


every = pytest.mark.parametrize(
    "options",
    [
        {"cell": cell, "attention": attention, "bidirectional": bidirectional, "layers": layers}
        for cell, attention, bidirectional, layers in [
            ("gru", "additive", True, 1),
            ("gru", "none", False, 2),
            ("lstm", "dot", True, 2),
            ("lstm", "none", True, 1),
        ]
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)


def test_targets_end_with_the_end_symbol() -> None:
    x, y = seq2seq().inputs_and_targets((X, Y))
    assert x is X
    assert y.values.tolist() == [3, 2, 1, END, 4, 4, END, END]
    assert y.offsets.tolist() == [0, 4, 7, 8]


@every
def test_loss_ignores_padding(options: dict[str, object]) -> None:
    model = seq2seq(**options)
    loss = model.training_step((X, Y), 0)
    alone = [model.training_step((X.part(slice(i, i + 1)), Y.part(slice(i, i + 1))), 0) for i in range(3)]
    expected = (4 * alone[0] + 3 * alone[1] + 1 * alone[2]) / 8
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@every
def test_teacher_forcing(options: dict[str, object]) -> None:
    model = seq2seq(**options)
    _, y = model.inputs_and_targets((X, Y))
    before = model(X, y)
    assert before.shape == (8, END + 1)
    values = y.values.clone()
    values[1] = 0  # the second step of the first sample
    after = model(X, Ragged(values, y.offsets))
    changed = (before != after).any(1).tolist()
    assert changed == [False, False, True, True, False, False, False, False]


@every
def test_generation_reads_its_own_symbols(options: dict[str, object]) -> None:
    model = seq2seq(max_length=6, **options)
    logits = model(X)
    assert logits.shape == (3, 6, END + 1)
    written = logits.argmax(-1)
    forced = model(X, Ragged(written.flatten(), torch.arange(0, 19, 6)))
    torch.testing.assert_close(forced.unflatten(0, (3, 6)), logits, rtol=1e-4, atol=1e-5)


def test_metrics_evaluate_generated_symbols() -> None:
    """The decoder is right after correct symbols and wrong after its own errors.

    Only the latter may affect the metrics.
    """
    model = seq2seq()
    # The first symbol is 3; then each symbol is followed by the next one of 3, 2, 1, end.
    follows = {END: 3, 3: 2, 2: 1, 1: END, 4: 4, 0: 0}

    def decode(previous: torch.Tensor, encoded: object, state: object) -> tuple[torch.Tensor, object]:
        expected = torch.tensor([follows[int(symbol)] for symbol in previous.flatten()]).reshape(previous.shape)
        return 20.0 * torch.nn.functional.one_hot(expected, END + 1), state

    model._decode = decode  # type: ignore[method-assign, assignment]
    rows = ragged([3, 2, 1], [4, 2, 1], [3, 2])
    trainer = quiet_trainer()
    trainer.validate(model, torch.utils.data.DataLoader([(X, rows)], batch_size=None), verbose=False)  # type: ignore[arg-type]
    actual = {name: float(value) for name, value in trainer.callback_metrics.items()}
    # It generates 3 2 1 end for each sample: 4, 3 and 2 steps are correct, and one sample of three.
    assert actual["val/accuracy"] == pytest.approx((4 + 3 + 2) / (4 + 4 + 3))
    assert actual["val/exact_match"] == pytest.approx(1 / 3)
    # With teacher forcing it is wrong at the first 4, after it, and at the end of the last sample.
    assert actual["val/loss"] == pytest.approx(3 * 20 / 11, rel=1e-4)


def test_fixed_length_raises() -> None:
    aligned = replace(WORDS, targets=(FieldSpec("targets", (4,), "int64"),))
    with pytest.raises(ConfigError, match=r"^model\.name: needs inputs and targets of varying length"):
        Seq2SeqConfig().build(aligned, training_recipe(aligned))


def test_number_of_parameters_by_attention() -> None:
    sizes = {a: sum(p.numel() for p in seq2seq(attention=a).parameters()) for a in ("none", "dot", "additive")}
    assert sizes["none"] < sizes["dot"] < sizes["additive"]


@every
def test_one_beam_writes_the_most_probable_symbols(options: dict[str, object]) -> None:
    model = seq2seq(max_length=6, **options)
    rows = model(X).argmax(-1).tolist()
    expected = [row[: row.index(END)] if END in row else row for row in rows]
    written = model.sequences(X)
    assert [part.tolist() for part in torch.split(written.values, written.lengths.tolist())] == expected


@every
def test_beams_of_a_sample_are_independent_of_the_others(options: dict[str, object]) -> None:
    model = seq2seq(max_length=6, **options)
    together = model.sequences(X, beams=3)
    for number in range(3):
        sample = slice(number, number + 1)
        assert torch.equal(model.sequences(X.part(sample), beams=3).values, together.part(sample).values)


def test_more_beams_find_more_probable_sequences() -> None:
    model = seq2seq(max_length=5)
    with torch.no_grad():
        model.head.weight.mul_(20)  # clear preferences

    def log_probability(written: Ragged) -> float:
        _, y = model.inputs_and_targets((X, written))
        chosen = model(X, y).log_softmax(-1).gather(1, y.values[:, None])
        return float(chosen.sum().detach())

    few, many = (log_probability(model.sequences(X, beams)) for beams in (1, 30))
    assert many > few
