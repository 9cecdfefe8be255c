"""Word vectors, learned by skip-gram with negative sampling (word2vec; Mikolov et al., 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.functional.regression import spearman_corrcoef

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.storage.hdf5 import open_file
from hpc_dl.errors import DataError, nearest
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.skip_gram import Noise, keep_probability, noise_distribution, skip_gram_loss
from hpc_dl.schema import Unit

_SAMPLES_PER_COUNT = 8192
_QUESTIONS_PER_BATCH = 512


class Word2VecConfig(ModelConfig):
    """Two vectors per word, as a word and as a context; the first is the result."""

    inputs = ("tokens",)
    tasks = ("embedding",)
    small = {"dimension": 4, "window": 2}

    name: Literal["word2vec"] = "word2vec"
    """Name of the architecture."""
    dimension: Annotated[int, Field(ge=1), Unit("numbers")] = 100
    """Size of a vector."""
    window: Annotated[int, Field(ge=1), Unit("words")] = 5
    """Largest distance between a word and its context; for each word it is drawn from 1 to this
    number."""
    negatives: Annotated[int, Field(ge=1), Unit("words")] = 5
    """Noise words per pair, drawn in proportion to count^0.75."""
    subsample: Annotated[float, Field(ge=0, lt=1), Unit("share of the text")] = 1e-3
    """Threshold of the relative frequency above which occurrences of a word are dropped at random;
    0 drops none."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Word2Vec:
        """Build the module for windows of a stream of tokens, or for sequences of tokens."""
        return Word2Vec(self, data, recipe)


class Word2Vec(TrainingModule):
    """Word vectors, their loss, and queries of similar words and analogies.

    The word counts for noise and subsampling are taken from the training split when training
    starts, and saved in checkpoints. If the file's ``test`` group contains word pairs with human
    similarity ratings (``NAME_pairs``, ``NAME_scores``), the test logs ``test/NAME``, Spearman's ρ
    of cosines and ratings; with ``analogies`` it logs ``test/analogies``, the share of correct
    answers.
    """

    counts: Tensor
    noise: Tensor
    keep: Tensor

    def __init__(self, config: Word2VecConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.config = config
        size = (data.num_outputs, config.dimension)
        self.words = nn.Embedding(*size)
        self.contexts = nn.Embedding(*size)
        for table in (self.words, self.contexts):
            nn.init.uniform_(table.weight, -0.5 / config.dimension, 0.5 / config.dimension)
        self.register_buffer("counts", torch.ones(data.num_outputs, dtype=torch.int64))
        self.register_buffer("noise", torch.linspace(0, 1, data.num_outputs + 1, dtype=torch.float64)[1:])
        self.register_buffer("keep", torch.ones(data.num_outputs))
        self.evaluation = nn.ModuleDict({f"{split}_loss": MeanMetric() for split in ("val", "test")})

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """Cosines of vectors compare words."""
        return ("compare words",)

    def forward(self, x: Any) -> Any:
        """Map int64 tokens (…) to vectors (…, dimension); a ``Ragged`` likewise."""
        return Ragged(self.words(x.values), x.offsets) if isinstance(x, Ragged) else self.words(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the mean loss of a pair of words, a scalar."""
        tokens, samples = _flat(batch[0])
        kept = torch.rand(len(tokens), device=tokens.device) < self.keep[tokens]
        return self._loss(tokens[kept], samples[kept])[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Update the loss with a validation batch; the noise depends only on the batch's index."""
        self._evaluate("val", batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Update the loss with a test batch; the noise depends only on the batch's index."""
        self._evaluate("test", batch, batch_idx)

    def on_fit_start(self) -> None:
        """Count the words of the training split."""
        batches = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(batches, HDF5DataModule):
            self.set_counts(_counts(batches, len(self.counts)))

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss``."""
        self.log_evaluation("val", {"val/loss": self._mean_loss("val")})

    def on_test_epoch_end(self) -> None:
        """Log ``test/loss``, and the benchmarks that the file contains."""
        self.log_evaluation("test", {"test/loss": self._mean_loss("test"), **self._benchmarks()})

    def set_counts(self, counts: Tensor) -> None:
        """Set the number of occurrences of each word, (V,)."""
        self.counts.copy_(counts)
        self.noise.copy_(noise_distribution(counts))
        self.keep.copy_(keep_probability(counts, self.config.subsample))

    # Queries

    @torch.no_grad()
    def similarity(self, word: str, other: str) -> float:
        """Return the cosine of the vectors of two words.

        Raises:
            DataError: a word is not in the vocabulary.
        """
        return float(self._cosines(self._tokens([[word, other]])))

    @torch.no_grad()
    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """Return the words with the most similar vectors and their cosines, the nearest first.

        Raises:
            DataError: the word is not in the vocabulary.
        """
        tokens = self._tokens([[word]])
        return self._named(self._nearest(self._unit_vectors()[tokens[:, 0]], tokens, count))

    def vectors(self) -> Tensor:
        """Return the vectors of all words, (V, dimension)."""
        return self.words.weight.detach()

    @torch.no_grad()
    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[tuple[str, float]]:
        """Return the answers d to "a is to b as c is to d", and their cosines, the nearest first.

        These are the words nearest to b − a + c (of unit vectors).

        Raises:
            DataError: a word is not in the vocabulary.
        """
        tokens = self._tokens([[a, b, c]])
        return self._named(self._nearest(_analogy_vectors(self._unit_vectors(), tokens), tokens, count))

    def _loss(self, tokens: Tensor, samples: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = Noise(self.noise, self.config.negatives)
        tables = self.words.weight, self.contexts.weight
        return skip_gram_loss(*tables, tokens, samples, self.config.window, noise, generator)

    def _evaluate(self, split: str, batch: Any, batch_idx: int) -> None:
        tokens, samples = _flat(batch[0])
        generator = torch.Generator(tokens.device).manual_seed(batch_idx)
        loss, pairs = self._loss(tokens, samples, generator)
        self.evaluation[f"{split}_loss"].update(loss, weight=pairs)  # type: ignore[operator]

    def _mean_loss(self, split: str) -> Tensor:
        metric = self.evaluation[f"{split}_loss"]
        loss: Tensor = metric.compute()  # type: ignore[operator]
        metric.reset()  # type: ignore[operator]
        return loss

    @torch.no_grad()
    def _benchmarks(self) -> dict[str, Tensor]:
        results: dict[str, Tensor] = {}
        with open_file(self.recipe.data.file) as file:
            datasets = {name: file["test"][name][()] for name in file["test"]} if "test" in file else {}
        for name in sorted(datasets):
            benchmark, _, kind = name.rpartition("_")
            if kind == "pairs" and len(datasets[name]) > 1:
                cosines = self._cosines(torch.from_numpy(datasets[name]).long().to(self.device))
                scores = torch.from_numpy(datasets[f"{benchmark}_scores"]).to(self.device)
                results[f"test/{benchmark}"] = spearman_corrcoef(cosines, scores)
        if len(questions := torch.from_numpy(datasets.get("analogies", np.empty((0, 4)))).long().to(self.device)):
            units = self._unit_vectors()
            correct = [
                self._nearest(_analogy_vectors(units, some), some[:, :3], 1)[0][:, 0] == some[:, 3]
                for some in torch.split(questions, _QUESTIONS_PER_BATCH)
            ]
            results["test/analogies"] = torch.cat(correct).float().mean()
        return results

    def _unit_vectors(self) -> Tensor:
        return functional.normalize(self.words.weight, dim=1)

    def _cosines(self, pairs: Tensor) -> Tensor:
        vectors = self.words(pairs)
        return functional.cosine_similarity(vectors[:, 0], vectors[:, 1])

    def _nearest(self, vectors: Tensor, excluded: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return tokens and cosines of the words nearest to each of the vectors.

        Args:
            vectors: (N, D).
            excluded: (N, k) tokens that are not returned for a vector.
            count: words for each vector.
        """
        cosines = functional.normalize(vectors, dim=1) @ self._unit_vectors().T
        cosines.scatter_(1, excluded, -torch.inf)
        top = cosines.topk(min(count, cosines.shape[1] - excluded.shape[1]), dim=1)
        return top.indices, top.values

    def _named(self, nearest_words: tuple[Tensor, Tensor]) -> list[tuple[str, float]]:
        names = self.recipe.data.class_names
        return [
            (names[token], cosine)
            for token, cosine in zip(nearest_words[0][0].tolist(), nearest_words[1][0].tolist(), strict=True)
        ]

    def _tokens(self, rows: Sequence[Sequence[str]]) -> Tensor:
        names = self.recipe.data.class_names
        for word in (word for row in rows for word in row):
            if word not in names:
                raise DataError.at(word, "is not in the vocabulary", remedy=nearest(word, names))
        return torch.tensor([[names.index(word) for word in row] for row in rows], device=self.device)


def _flat(x: Any) -> tuple[Tensor, Tensor]:
    """Return all tokens of a batch, (T,), and the index of the sample of each, (T,)."""
    if isinstance(x, Ragged):
        return x.values, torch.repeat_interleave(torch.arange(len(x.lengths), device=x.values.device), x.lengths)
    return x.flatten(), torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1])


def _analogy_vectors(units: Tensor, questions: Tensor) -> Tensor:
    """Return b − a + c for tokens a, b, c, (N, 3 or more) to (N, D)."""
    a, b, c = (units[questions[:, number]] for number in range(3))
    return b - a + c


def _counts(batches: HDF5DataModule, num_words: int) -> Tensor:
    """Count the occurrences of each word in the training split, (V,)."""
    counts = torch.zeros(num_words, dtype=torch.int64)
    size = batches.spec.sizes["train"]
    for start in range(0, size, _SAMPLES_PER_COUNT):
        batch = batches.read_batch("train", np.arange(start, min(start + _SAMPLES_PER_COUNT, size)))
        assert isinstance(batch, tuple)  # a single input
        x: Tensor | Ragged = batch[0]
        values = x.values if isinstance(x, Ragged) else x
        counts += torch.bincount(values.flatten().long(), minlength=num_words)
    return counts
