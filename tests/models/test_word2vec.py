"""Word vectors: the loss, the counts of words, and queries."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, Window
from hpc_dl.errors import ConfigError, DataError
from hpc_dl.models.word2vec import Word2Vec, Word2VecConfig
from hpc_dl.nn.skip_gram import Noise, keep_probability, noise_distribution, skip_gram_loss
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences, value_differences
from tests import experiments
from tests.training.attempts import Stop, finish, finish_in_processes, weights_of_each_rank

WORDS = ("king", "queen", "man", "woman", "north", "south", "one", "two", "the", "of")


def spec(words: tuple[str, ...] = WORDS, file: str = "/data/paper.h5", **field: Any) -> DataSpec:
    inputs = FieldSpec("inputs", **({"shape": (8,), "dtype": "int32", "window": Window(8, 8)} | field))
    return DataSpec((inputs,), (), "embedding", len(words), words, {"train": 48}, file, "", "p")


def built(data: DataSpec | None = None, **parameters: Any) -> Word2Vec:
    torch.manual_seed(0)
    data = data or spec()
    model = Word2VecConfig(**({"dimension": 4, "window": 2} | parameters)).build(
        data, experiments.training_recipe(data)
    )
    assert isinstance(model, Word2Vec)
    return model


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a stream of words: six topics of four words each, in blocks of 12 words of one topic.

    The test split has pairs with human ratings.
    """
    generator = np.random.default_rng(0)
    words = [f"{topic}{number}" for topic in "abcdef" for number in range(4)]
    path = tmp_path_factory.mktemp("text") / "text.h5"
    with h5py.File(path, "w") as file:
        for split, stretches in (("train", 600), ("val", 40), ("test", 40)):
            topics = generator.integers(6, size=(stretches, 1))
            tokens = (4 * topics + generator.integers(4, size=(stretches, 12))).astype(np.int32)
            file[f"{split}/inputs"] = tokens.reshape(-1)
            file[f"{split}/inputs"].attrs["class_names"] = words
        file["test/topics_pairs"] = np.array([(0, 1), (4, 6), (9, 11), (0, 5), (8, 21), (13, 18)], np.int32)
        file["test/topics_scores"] = np.array([9, 9, 9, 1, 1, 1], np.float32)
        file["test/analogies"] = np.array([(0, 1, 4, 5)], np.int32)
    return path


def experiment(file: Path, **sections: Any) -> dict[str, Any]:
    windows = {"length": 24}
    data = {"windows": windows, "targets": None, "task": "embedding", "batch_size": 8}
    model = {"name": "word2vec", "dimension": 8, "window": 3, "subsample": 0.02}
    return experiments.raw(
        file, **({"data": data, "model": model, "optimizer": {"name": "adagrad", "lr": 0.5}} | sections)
    )


def by_hand(
    words: torch.Tensor, contexts: torch.Tensor, tokens: list[int], samples: list[int], window: int, noise: list[float]
) -> float:
    """Compute the loss of all pairs in reach, with the expectation over noise words."""
    total, pairs = 0.0, 0
    for i, center in enumerate(tokens):
        for j, context in enumerate(tokens):
            if i == j or abs(i - j) > window or samples[i] != samples[j]:
                continue
            pairs += 1
            total -= torch.log(torch.sigmoid(words[center] @ contexts[context])).item()
            for other, probability in enumerate(noise):
                total -= 5 * probability * torch.log(torch.sigmoid(-words[center] @ contexts[other])).item()
    return total / pairs


def test_loss_matches_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    words, contexts = torch.randn(2, 6, 4, generator=generator)
    tokens = torch.randint(6, (75,), generator=generator)
    samples = torch.arange(75) // 20
    counts = torch.tensor([50, 20, 10, 10, 5, 5])
    noise = Noise(noise_distribution(counts), 5)
    shares = (counts**0.75 / (counts**0.75).sum()).tolist()
    # With a window of 1 there is nothing to draw.
    expected = by_hand(words, contexts, tokens.tolist(), samples.tolist(), 1, shares)
    actual = [skip_gram_loss(words, contexts, tokens, samples, 1, noise, generator) for _ in range(400)]
    assert {pairs.item() for _, pairs in actual} == {2 * (75 - 4)}
    assert torch.stack([loss for loss, _ in actual]).mean().item() == pytest.approx(expected, rel=0.01)


def test_window_size_is_uniform() -> None:
    words = torch.zeros(3, 2)
    tokens, samples = torch.zeros(10_000, dtype=torch.int64), torch.zeros(10_000, dtype=torch.int64)
    noise = Noise(noise_distribution(torch.ones(3)), 2)
    loss, pairs = skip_gram_loss(words, words, tokens, samples, 4, noise)
    assert pairs.item() / 10_000 == pytest.approx(2 * 2.5, rel=0.02)  # 1, 2, 3 or 4 to each side
    assert loss.item() == pytest.approx((1 + 2) * np.log(2))


def test_loss_without_pairs_is_0() -> None:
    words = torch.randn(3, 2, requires_grad=True)
    for tokens in (torch.zeros(0, dtype=torch.int64), torch.tensor([1])):
        loss, pairs = skip_gram_loss(
            words, words, tokens, torch.zeros_like(tokens), 3, Noise(noise_distribution(torch.ones(3)), 2)
        )
        assert (loss.item(), pairs.item()) == (0, 0)
        loss.backward()
        assert words.grad is not None and words.grad.abs().sum() == 0


def test_noise_and_subsampling() -> None:
    counts = torch.tensor([16, 1, 0, 81])
    steps = torch.diff(noise_distribution(counts), prepend=torch.zeros(1))
    torch.testing.assert_close(steps, torch.tensor([8.0, 1.0, 0.0, 27.0], dtype=torch.float64) / 36)
    kept = keep_probability(torch.tensor([900, 90, 10]), 0.01)
    torch.testing.assert_close(kept, torch.tensor([(0.01 / 0.9) ** 0.5, (0.01 / 0.09) ** 0.5, 1.0]))
    assert keep_probability(counts, 0).tolist() == [1, 1, 1, 1]


def test_no_pairs_across_samples() -> None:
    model = built(spec(shape=(), window=None, ragged=True), window=1)
    x = Ragged(torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([0, 2, 3, 6]))
    assert [part.shape for part in model(x)] == [(6, 4), (4,)]
    model._evaluate("val", (x,), 0)
    assert model.evaluation["val_loss"].weight == 2 + 0 + 4
    assert model.training_step((x,), 0).item() > 0


def test_every_parameter_changes() -> None:
    model = built()
    tokens = torch.arange(40).view(5, 8) % len(WORDS)
    assert model(tokens).shape == (5, 8, 4)
    model.training_step((tokens,), 0).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key


def test_validation_is_deterministic() -> None:
    model, tokens = built(), torch.arange(40).view(5, 8) % len(WORDS)
    before, values = torch.get_rng_state(), []
    for _ in range(2):
        model.validation_step((tokens,), 3)
        values.append(model._mean_loss("val").item())
    assert values[0] == values[1]
    assert torch.equal(before, torch.get_rng_state())


def test_similarity_and_analogy_queries() -> None:
    model = built(dimension=3)
    vectors = {"king": (0, 1, 1), "man": (0, 0, 1), "queen": (1, 1, 0), "woman": (1, 0, 0), "north": (0.9, 0.1, 0)}
    with torch.no_grad():
        model.words.weight.fill_(-1)
        for word, values in vectors.items():
            model.words.weight[WORDS.index(word)] = torch.tensor(values, dtype=torch.float32)
    assert model.similarity("king", "queen") == pytest.approx(0.5)
    assert model.similarity("woman", "man") == 0
    (word, cosine), *others = model.nearest("woman", 3)
    assert word == "north" and cosine == pytest.approx(0.9 / 0.82**0.5) and len(others) == 2
    assert "woman" not in [name for name, _ in model.nearest("woman", 99)]
    assert model.analogy("man", "king", "woman")[0][0] == "queen"
    with pytest.raises(DataError, match=r"kng: is not in the vocabulary.*Did you mean 'king'"):
        model.similarity("kng", "man")


@pytest.mark.slow
def test_topics_and_benchmarks(tmp_path: Path, text: Path) -> None:
    run = finish(experiments.prepared(tmp_path, experiment(text, trainer={"max_epochs": 4})))
    metrics = read_json(run.result)["metrics"]
    # All pairs of the same topic are nearer than all other pairs: the best possible correlation of
    # six values with two ranks.
    assert metrics["test/topics"] == pytest.approx(0.878, abs=0.001)
    assert {"test/analogies", "test/loss", "val/loss", "train/loss"} <= metrics.keys()
    data = open_spec(DataConfig(file=str(text), windows={"length": 24}, targets=None, task="embedding"))  # type: ignore[arg-type]
    model = built(data, dimension=8)
    state = torch.load(run.checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict(state)
    assert {word[0] for word, _ in model.nearest("c2", 3)} == {"c"}
    with h5py.File(text) as file:
        tokens = file["train/inputs"][()]
    assert torch.equal(state["counts"], torch.from_numpy(np.bincount(tokens, minlength=24)))
    torch.testing.assert_close(state["noise"], noise_distribution(state["counts"]))
    torch.testing.assert_close(state["keep"], keep_probability(state["counts"], 0.02))


@pytest.mark.slow
def test_resume_is_bit_for_bit(tmp_path: Path, text: Path) -> None:
    content = experiment(text, trainer={"max_epochs": 2})
    reference = finish(experiments.prepared(tmp_path / "whole", content))
    stops = (Stop(5), Stop(20, "on_train_batch_start"), Stop(37, "on_validation_batch_start"), Stop(50))
    run = finish(experiments.prepared(tmp_path / "stopped", content), *stops)
    assert differences(run, reference) == []
    assert len(list(run.journal.glob("attempt-*.jsonl"))) > 3


@pytest.mark.slow
def test_two_ranks_agree_and_resume(tmp_path: Path, text: Path) -> None:
    sections: dict[str, Any] = {"resources": {"gpus_per_node": 0, "nodes": 2}, "trainer": {"max_epochs": 1}}
    reference = experiments.prepared(tmp_path / "whole", experiment(text, **sections))
    one, other = weights_of_each_rank(reference)
    assert not list(value_differences(one, other, "weights"))
    assert read_json(reference.result)["steps"] == 18  # 300 windows, 8 on each of two ranks
    stopped = experiments.prepared(tmp_path / "stopped", experiment(text, **sections))
    assert differences(finish_in_processes(stopped, Stop(7)), reference) == []


def test_other_data_raise() -> None:
    images = experiments.spec(input_shape=(1, 8, 8))
    with pytest.raises(ConfigError) as caught:
        Word2VecConfig().build(images, experiments.training_recipe(images))
    assert [fault.where for fault in caught.value.faults] == ["model.name", "model.name"]


def test_building_without_memory() -> None:
    with torch.device("meta"):
        model = built()
    real = {key: value.shape for key, value in built().state_dict().items()}
    assert {key: value.shape for key, value in model.state_dict().items()} == real
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
