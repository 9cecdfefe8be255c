"""``hpc-dl generate`` for a GAN: samples as HDF5 and as one picture."""

from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from hpc_dl.inference.image_grid import image_grid
from hpc_dl.inference.sample_generation import generate_samples
from hpc_dl.runs.folder import RunFolder
from tests.cli.conftest import HpcDl
from tests.inference.conftest import Train, load

GAN = {"name": "gan", "width": 8, "depth": 1, "latent": 3}


@pytest.fixture(scope="module")
def images(train: Train, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A GAN of color images of 6 × 4 pixels; the channels are the last axis of the file."""
    path = tmp_path_factory.mktemp("colors") / "colors.h5"
    with h5py.File(path, "w") as file:
        for split, size in (("train", 32), ("val", 8), ("test", 8)):
            file[f"{split}/photos"] = np.random.default_rng(0).integers(90, 110, (size, 6, 4, 3), np.uint8)
    data = {"inputs": "photos", "targets": None, "task": "generation", "channels": "last"}
    return train(path, data=data, model=GAN)


@pytest.mark.slow
def test_samples_are_as_in_the_data_file(images: RunFolder, tmp_path: Path) -> None:
    model = load(images)
    result = generate_samples(model, tmp_path / "some.h5", 10, seed=3)
    assert (result["count"], result["shape"], result["dtype"]) == (10, [6, 4, 3], "uint8")
    with h5py.File(tmp_path / "some.h5") as file:
        assert list(file) == ["photos"] and file.attrs["run"] == images.name and file.attrs["seed"] == 3
        samples = file["photos"][()]
    expected = model.model.sample(10, seed=3).numpy()  # type: ignore[operator]
    assert np.array_equal(samples, np.rint(expected).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
    # The file is one that hpc_dl reads, and the picture shows the same samples.
    generate_samples(model, tmp_path / "some.png", 10, seed=3)
    with Image.open(tmp_path / "some.png") as picture:
        assert picture.text["run"] == images.name  # type: ignore[attr-defined]
        pixels = np.asarray(picture)
    assert np.array_equal(pixels, image_grid(samples.transpose(0, 3, 1, 2)))


def test_grid_of_images() -> None:
    images = np.zeros((5, 1, 4, 4), np.uint8)
    images[4] = 16  # of digits, for example, 16 is the highest
    picture = image_grid(images)
    scale = picture.shape[1] // 20  # three columns of 4 pixels, with gaps of 2
    small = picture[::scale, ::scale, 0]
    assert picture.shape[1] >= 600 and small.shape == (14, 20)
    assert (
        (small[2:6, 2:6] == small[8:12, 2:6]).all()
        and (small[2:6, 2:6] == 0).all()
        and (small[8:12, 8:12] == 255).all()
    )
    assert (small[8:12, 14:18] == 255).all() and (small[:2] == 255).all()  # no sixth image; the margin
    values = image_grid(np.linspace(-1, 3, 16, dtype=np.float32).reshape(1, 1, 4, 4))
    assert np.array_equal(np.unique(values), np.arange(0, 256, 17))
    assert image_grid(np.zeros((3, 3, 8, 8), np.float32)).max() == 255  # all equal: no division by 0


@pytest.mark.slow
def test_command(hpc_dl: HpcDl, images: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "samples.h5"
    answer = hpc_dl("generate", images.path, "--count", 3, "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert (answer.json["count"], answer.json["run"]) == (3, images.name)
    before = out.read_bytes()
    for options, message in (
        (("--out", out), "samples.h5: already exists. Choose another name, or replace it with --force"),
        (
            ("--out", tmp_path / "samples.txt"),
            "has a suffix that is not a format for samples (allowed: .h5, .hdf5, .png)",
        ),
        (("--start", "a"), "generates samples, not text (allowed: --count, --out)"),
        ((), "--out: is required"),
    ):
        answer = hpc_dl("generate", images.path, *options)
        assert answer.status == 2 and message in answer.err, answer.err
    assert out.read_bytes() == before and [path.name for path in tmp_path.glob("*samples*")] == ["samples.h5"]


@pytest.mark.slow
def test_exported_generator_generates_the_same(hpc_dl: HpcDl, images: RunFolder, tmp_path: Path) -> None:
    answer = hpc_dl("export", images.path, "--out", tmp_path / "generator.onnx", "--json")
    assert answer.status == 0, answer.err
    assert (answer.json["inputs"]["shape"], answer.json["output"]) == ([3], "samples")
    model = load(images).model
    noise = model.noise(5, seed=1)  # type: ignore[operator]
    session = onnxruntime.InferenceSession(str(tmp_path / "generator.onnx"), providers=["CPUExecutionProvider"])
    (samples,) = session.run(["samples"], {"inputs": noise.numpy()})
    np.testing.assert_allclose(samples, model.sample(5, seed=1), rtol=1e-4)  # type: ignore[operator]


@pytest.mark.slow
def test_vectors_are_no_picture(hpc_dl: HpcDl, train: Train, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "points.h5", "w") as file:
        for split in ("train", "val", "test"):
            file[f"{split}/inputs"] = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    run = train(tmp_path / "points.h5", data={"targets": None, "task": "generation"}, model=GAN)
    answer = hpc_dl("generate", run.path, "--out", tmp_path / "points.png")
    assert answer.status == 2 and "generates samples of the shape (2,). Write HDF5: --out samples.h5" in answer.err
    assert hpc_dl("generate", run.path, "--out", tmp_path / "out.h5").status == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["inputs"].shape == (64, 2) and file["inputs"].dtype == np.float32
