"""Padding of samples of different lengths, and summaries of their steps."""

import pytest
import torch

from hpc_dl.nn.sequences import StepEmbedding, last_step, mask, mean_of_steps, pad, unpad

VALUES = torch.arange(1.0, 13.0).reshape(6, 2)  # of three samples: 2, 3 and 1 steps
OFFSETS = torch.tensor([0, 2, 5, 6])
LENGTHS = torch.tensor([2, 3, 1])


def test_pad_adds_zeros_after_each_sample() -> None:
    padded, lengths = pad(VALUES, OFFSETS)
    assert lengths.tolist() == [2, 3, 1]
    assert padded[:, :, 0].tolist() == [[1, 3, 0], [5, 7, 9], [11, 0, 0]]
    assert mask(lengths, 3).tolist() == [[True, True, False], [True, True, True], [True, False, False]]


@pytest.mark.parametrize("values", [VALUES, VALUES[:, 0], VALUES.to(torch.int64), VALUES.reshape(6, 2, 1)])
def test_unpad_inverts_pad(values: torch.Tensor) -> None:
    padded, lengths = pad(values, OFFSETS)
    assert padded.dtype == values.dtype
    assert torch.equal(unpad(padded, lengths), values)


def test_pad_with_an_empty_sample() -> None:
    padded, lengths = pad(VALUES, torch.tensor([0, 2, 2, 6]))
    assert lengths.tolist() == [2, 0, 4]
    assert not padded[1].any()
    assert torch.equal(unpad(padded, lengths), VALUES)
    assert pad(VALUES[:0], torch.tensor([0, 0]))[0].shape == (1, 1, 2)


def test_summaries_ignore_padding() -> None:
    padded, lengths = pad(VALUES, OFFSETS)
    padded[~mask(lengths, 3)] = float("nan")
    assert mean_of_steps(padded, lengths).tolist() == [[2, 3], [7, 8], [11, 12]]
    assert last_step(padded, lengths).tolist() == [[3, 4], [9, 10], [11, 12]]


def test_summaries_without_lengths_use_all_steps() -> None:
    states = VALUES.reshape(2, 3, 2)
    assert mean_of_steps(states).tolist() == [[3, 4], [9, 10]]
    assert last_step(states).tolist() == [[5, 6], [11, 12]]
    full = torch.tensor([3, 3])
    assert torch.equal(mean_of_steps(states, full), mean_of_steps(states))
    assert torch.equal(last_step(states, full), last_step(states))


def test_summaries_of_an_empty_sample_are_finite() -> None:
    lengths = torch.tensor([0, 2])
    states = torch.ones(2, 2, 3)
    assert mean_of_steps(states, lengths).tolist() == [[0] * 3, [1] * 3]
    assert last_step(states, lengths).isfinite().all()


def test_unpad_gives_no_gradient_to_padding() -> None:
    padded = torch.randn(3, 3, 2, requires_grad=True)
    unpad(padded, LENGTHS).sum().backward()
    assert padded.grad is not None
    assert torch.equal(padded.grad[..., 0], mask(LENGTHS, 3).float())


def test_unknown_tokens_share_the_last_embedding() -> None:
    vectors = StepEmbedding(1, vocabulary=4, embedding=5)
    assert vectors.size == 5
    actual = vectors(torch.tensor([[0, 3, 3], [1, 4, 900]]))
    assert actual.shape == (2, 3, 5)
    assert torch.equal(actual[0, 1], actual[0, 2])
    assert torch.equal(actual[1, 1], actual[0, 1]) and torch.equal(actual[1, 2], actual[0, 1])
    assert not torch.equal(actual[0, 0], actual[1, 0])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 2)])
def test_step_embedding_keeps_features(shape: tuple[int, ...]) -> None:
    steps = torch.arange(torch.Size(shape).numel()).reshape(shape)
    vectors = StepEmbedding(steps[0, 0].numel())
    actual = vectors(steps)
    assert actual.dtype == torch.float32
    assert actual.shape == (2, 3, vectors.size)
    assert torch.equal(actual.flatten(), steps.flatten().float())
    assert not list(vectors.parameters())
