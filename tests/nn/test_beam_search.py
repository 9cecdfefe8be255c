"""Beam search, compared with the probabilities of all sequences."""

import itertools

import pytest
import torch
from torch import Tensor

from hpc_dl.nn.beam_search import beam_search

END, STEPS = 2, 4


def search(tables: Tensor, beams: int, steps: int = STEPS) -> tuple[list[list[int]], list[float]]:
    """Search with a decoder whose logits depend on the sample, the step and the last symbol.

    Args:
        tables: (B, steps, 3, 3) logits of the next symbol after each symbol, at each step.
        beams: number of beams.
        steps: most steps.
    """

    def next_logits(symbols: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
        own, step = state
        return own[torch.arange(len(own)), step, symbols[:, 0]], (own, step + 1)

    def select(state: tuple[Tensor, int], rows: Tensor) -> tuple[Tensor, int]:
        return state[0][rows], state[1]

    boundary = torch.full((len(tables),), END)
    start = tables.repeat_interleave(beams, 0), 0
    written, lengths, scores = beam_search(next_logits, select, start, boundary, beams, steps)
    rows = [row[:length].tolist() for row, length in zip(written, lengths, strict=True)]
    return rows, scores.tolist()


def best(table: Tensor) -> tuple[list[int], float]:
    """The most probable of all sequences of at most STEPS symbols, and its log-probability."""
    log_probabilities = table.log_softmax(-1)
    scored = []
    for length in range(STEPS + 1):
        for symbols in itertools.product(range(END), repeat=length):
            ended = [*symbols, END][:STEPS]
            path = zip([END, *ended], ended, strict=False)
            scored.append((sum(float(log_probabilities[i, a, b]) for i, (a, b) in enumerate(path)), list(symbols)))
    score, symbols = max(scored)
    return symbols, score


def test_many_beams_find_the_most_probable_sequence() -> None:
    tables = torch.randn(20, STEPS, 3, 3, generator=torch.Generator().manual_seed(0))
    rows, scores = search(tables, beams=3**STEPS)
    for table, row, score in zip(tables, rows, scores, strict=True):
        expected, expected_score = best(table)
        assert row == expected and score == pytest.approx(expected_score, abs=1e-5)


def test_one_beam_is_greedy() -> None:
    tables = torch.randn(20, STEPS, 3, 3, generator=torch.Generator().manual_seed(1))
    rows, _ = search(tables, beams=1)
    for table, row in zip(tables, rows, strict=True):
        greedy, symbol = [], END
        for step in range(STEPS):
            symbol = int(table[step, symbol].argmax())
            if symbol == END:
                break
            greedy.append(symbol)
        assert row == greedy


def test_second_beam_corrects_a_first_choice() -> None:
    """P(0) = 0.6, but then two equal symbols; P(1) = 0.4, then the end for sure."""
    table = torch.tensor([[[0, 0, 0], [0, 0, 0], [0.6, 0.4, 1e-9]], [[0.5, 0.5, 1e-9], [1e-9, 1e-9, 1], [1, 1, 1]]])
    (greedy,), _ = search(table.log()[None], beams=1, steps=2)
    (row,), (score,) = search(table.log()[None], beams=2, steps=2)
    assert greedy[0] == 0 and row == [1]
    assert score == pytest.approx(torch.tensor(0.4).log().item(), abs=1e-5)
