"""Data sets that hpc_dl generates: the values follow the publication's definition."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources.mnist1d import _generate
from hpc_dl.data.sources.numerals import english, german

from .conftest import Made

pytestmark = pytest.mark.slow


def test_grid_has_25_modes(made: Made) -> None:
    with h5py.File(made("grid")) as file:
        points, labels = file["train/inputs"][()], file["train/targets"][()]
        modes = file["train/modes"][()]
        assert set(np.bincount(labels)) == {1000}
        assert {tuple(mode) for mode in modes} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
        np.testing.assert_allclose((points - modes[labels]).std(0), 0.05, rtol=0.05)
        assert file["train/modes_std"][()].tolist() == [np.float32(0.05)] * 25


def test_ring_has_8_modes(made: Made) -> None:
    with h5py.File(made("ring")) as file:
        for split in ("train", "val", "test"):
            points, labels = file[split]["inputs"][()], file[split]["targets"][()]
            assert len(set(np.bincount(labels, minlength=8))) == 1, "all modes are equally likely"
            modes = file[split]["modes"][()]
            np.testing.assert_allclose(np.hypot(*modes.T), 2, rtol=1e-6)
            np.testing.assert_allclose(modes[1], (math.sqrt(2), math.sqrt(2)), rtol=1e-6)
            deviations = points - modes[labels]
            np.testing.assert_allclose(deviations.std(0), 0.02, rtol=0.05)
            np.testing.assert_allclose(deviations.mean(0), 0, atol=0.002)
        assert np.intersect1d(file["train/inputs"][:, 0], file["test/inputs"][:, 0]).size <= 20


def test_ring_modes_can_be_classes(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="ring", task="classification"), tmp_path)
    assert (spec.task, spec.num_outputs, spec.targets[0].dtype) == ("classification", 8, "int64")
    assert [path.name for path in tmp_path.iterdir()] == ["ring.h5"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_adding_target_is_the_sum_of_the_marked_numbers(split: str, made: Made) -> None:
    file = made("adding")
    with open_data(file, DataConfig(file=str(file))).reader(split) as reader:
        inputs, targets = reader.read(np.arange(len(reader)))
    numbers, marks = inputs[:, 0], inputs[:, 1]
    assert numbers.min() >= 0 and numbers.max() < 1
    assert set(np.unique(marks)) == {0, 1}
    for half in (slice(None, 50), slice(50, None)):
        assert (marks[:, half].sum(1) == 1).all()
        counts = marks[:, half].sum(0)
        assert counts.min() > 0 and counts.max() < 2.5 * counts.mean()
    np.testing.assert_allclose(targets[:, 0], (numbers * marks).sum(1), rtol=1e-6)
    # The trivial predictor always predicts 1.
    assert np.square(targets - 1).mean() == pytest.approx(1 / 6, rel=0.05)


def test_adding_has_no_sample_twice(made: Made) -> None:
    file = made("adding")
    data = open_data(file, DataConfig(file=str(file)))
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            assert len({row.tobytes() for row in reader.read(np.arange(size))[0]}) == size


def test_mnist1d_series_are_those_of_the_package() -> None:
    x, y = _generate()
    assert (x.shape, y.shape) == ((5000, 40), (5000,))
    np.testing.assert_allclose(x[0, :4], [-0.33200566736939, -0.47191036565572, -0.77869707629349, -1.00974082653670])
    np.testing.assert_allclose(x[4999, -3:], [0.65987564708908, 0.87773434975280, 1.19315183683528])
    assert y[:12].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1, 6, 9]
    # All values at once: a weighted sum that changes when any two values are swapped.
    assert np.cos(np.arange(x.size)) @ x.ravel() == pytest.approx(445.71845196597, abs=1e-8)
    assert np.arange(1, 5001) @ y == 56588141


def test_mnist1d_keeps_the_packages_test_set(made: Made) -> None:
    x, y = _generate()
    with h5py.File(made("mnist1d")) as file:
        assert file.attrs["license"] == "Apache-2.0"
        np.testing.assert_array_equal(file["test/inputs"][:, 0], x[4000:].astype(np.float32))
        np.testing.assert_array_equal(file["test/targets"], y[4000:])
        learned = np.concatenate([file["train/inputs"], file["val/inputs"]])[:, 0]
        counts = [np.bincount(file[f"{split}/targets"]) for split in ("train", "val")]
    # Training and validation together are the package's training series, each once.
    order = [np.lexsort(part.T) for part in (learned, x[:4000].astype(np.float32))]
    np.testing.assert_array_equal(learned[order[0]], x[:4000].astype(np.float32)[order[1]])
    assert (counts[0] + counts[1]).tolist() == np.bincount(y[:4000]).tolist()
    assert np.abs(counts[1] - 0.1 * (counts[0] + counts[1])).max() <= 1


def test_spirals_are_half_a_turn_apart(made: Made) -> None:
    with h5py.File(made("spirals")) as file:
        points, labels = file["train/inputs"][()], file["train/targets"][()]
    radius, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
    away = radius > 1.5  # near the center the noise is as large as the radius
    behind = (angle - 2 * np.pi * 2 * radius / 6.5 - np.pi * labels + np.pi) % (2 * np.pi) - np.pi
    # Noise of 0.2 along the radius is 0.39 of an angle.
    assert abs(behind[away].mean()) < 0.02 and behind[away].std() == pytest.approx(0.39, abs=0.03)


def test_circles_are_a_disc_and_a_ring(made: Made) -> None:
    with h5py.File(made("circles")) as file:
        radius, labels = np.hypot(*file["train/inputs"][()].T), file["train/targets"][()]
    assert radius[labels == 0].max() <= 0.8 and 1.2 <= radius[labels == 1].min() < radius.max() <= 2.0001
    # Even over the area: half of the disc's points are within radius / √2.
    assert (radius[labels == 0] < 0.8 / math.sqrt(2)).mean() == pytest.approx(0.5, abs=0.05)


def test_two_curves_are_parallel(made: Made) -> None:
    with h5py.File(made("two_curves")) as file:
        (x, y), labels = file["train/inputs"][()].T, file["train/targets"][()]
    np.testing.assert_allclose(y, 0.6 * np.cos(np.pi * x) + np.where(labels, 0.3, -0.3), atol=1e-6)


def test_targets_of_sine_and_kepler_follow_the_formula(made: Made) -> None:
    with h5py.File(made("sine")) as file:
        np.testing.assert_allclose(file["train/targets"], np.sin(file["train/inputs"][:, 0]), atol=1e-6)
    with h5py.File(made("kepler")) as file:
        beside = file["train/targets"][()] - 1.5 * file["train/inputs"][:, 0]
    masses = 10 ** (-2 * beside)
    assert 0.9 - 1e-5 <= masses.min() < 0.91 and 1.09 < masses.max() <= 1.1 + 1e-5


def test_bars_are_drawn_where_the_labels_say(made: Made) -> None:
    with h5py.File(made("bars")) as file:
        images, labels = file["train/inputs"][:, 0], file["train/targets"][()]
    drawn = np.maximum(labels[:, :8, None], labels[:, None, 8:])
    deviations = images - drawn
    assert abs(deviations.mean()) < 0.01 and deviations.std() == pytest.approx(0.3, rel=0.02)
    assert labels.mean() == pytest.approx(1 / 8, rel=0.05), "each bar has the probability 1/8"
    assert {0, 1, 2, 3} <= set(labels.sum(1)), "any number of labels"


@pytest.mark.parametrize(
    ("number", "english_words", "german_words"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (17, "seventeen", "siebzehn"),
        (21, "twenty one", "ein und zwanzig"),
        (101, "one hundred one", "ein hundert eins"),
        (1001, "one thousand one", "ein tausend eins"),
        (21_300, "twenty one thousand three hundred", "ein und zwanzig tausend drei hundert"),
        (
            985_016,
            "nine hundred eighty five thousand sixteen",
            "neun hundert fünf und achtzig tausend sechzehn",
        ),
    ],
)
def test_numerals_follow_the_rules_of_both_languages(number: int, english_words: str, german_words: str) -> None:
    assert (" ".join(english(number)), " ".join(german(number))) == (english_words, german_words)


def test_numerals_are_translations(made: Made) -> None:
    file = made("numerals")
    data = open_data(file, DataConfig(file=str(file)))
    names = data.spec.class_names
    with data.reader("test") as reader:
        sources, targets = reader.read(np.arange(50))
    words = {" ".join(english(number)): " ".join(german(number)) for number in range(1000)}
    found = 0
    for row in range(50):
        source, target = (
            " ".join(names[token] for token in part.values[part.offsets[row] : part.offsets[row + 1]])
            for part in (sources, targets)
        )
        if source in words:
            found += 1
            assert target == words[source]
    assert found > 0


def test_written_numbers_are_read_out(made: Made) -> None:
    file, digits = made("written_numbers"), made("digits")
    data = open_data(file, DataConfig(file=str(file)))
    with h5py.File(digits) as stored:
        digit_of = {
            image.tobytes(): int(label)
            for image, label in zip(stored["test/inputs"][()], stored["test/targets"][()], strict=True)
        }
    with data.reader("test") as reader:
        images, words = reader.read(np.arange(50))
    for image, start, stop in zip(images, words.offsets, words.offsets[1:], strict=False):
        hundreds, tens, ones = (digit_of[np.ascontiguousarray(part).tobytes()] for part in np.split(image, 3, axis=2))
        expected = english(100 * hundreds + 10 * tens + ones)
        assert [data.spec.class_names[token] for token in words.values[start:stop]] == expected
