"""WAV recordings, multi-page TIFF, images with masks, and zarr."""

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpc_dl.errors import DataError

from .conftest import content, images, labels, packed
from .test_kinds import write_images

RATE = 800
NUM_STEPS = 400


def tone(number: int, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * (20 + number) * np.arange(NUM_STEPS * rate // RATE) / rate)


def write_wav(path: Path, values: np.ndarray, bits: int = 16, rate: int = RATE, channels: int = 1) -> None:
    """Write 16, 24 or 32 bits with Python's wave module, or floats (-32) by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if bits == -32:
        data = values.astype("<f4").tobytes()
        format = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
        body = b"WAVEfmt " + struct.pack("<I", 16) + format + b"data" + struct.pack("<I", len(data)) + data
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        return
    stored = np.rint(values * (2 ** (bits - 1) - 1)).astype("<i4")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(stored.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())


@pytest.mark.parametrize(("bits", "dtype"), [(16, "int16"), (24, "int32"), (32, "int32"), (-32, "float32")])
def test_recordings_keep_their_values(bits: int, dtype: str, tmp_path: Path) -> None:
    for number in range(6):
        write_wav(tmp_path / "in" / ["cat", "dog"][number % 2] / f"{number}.wav", tone(number), bits)
    result = packed(tmp_path / "in", tmp_path / "out.h5", splits="train=.5,test=.5", seed=1)
    arrays = content(tmp_path / "out.h5")
    assert (result["input_shape"], result["input_dtype"]) == ([1, NUM_STEPS], dtype)
    assert result["class_names"] == ["cat", "dog"]
    both = np.concatenate([arrays["train/inputs"], arrays["test/inputs"]])[:, 0].astype(np.float64)
    both /= 1 if bits == -32 else 2.0 ** (15 if bits == 16 else 31)
    targets = np.concatenate([arrays["train/targets"], arrays["test/targets"]])
    found = [int(np.argmin([np.abs(row - tone(number)).max() for number in range(6)])) for row in both]
    assert sorted(found) == list(range(6)) and [number % 2 for number in found] == targets.tolist()
    np.testing.assert_allclose(both, [tone(number) for number in found], atol=1e-4)


def test_recordings_of_several_rates_are_resampled_on_request(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a" / "0.wav", tone(0))
    write_wav(tmp_path / "in" / "b" / "1.wav", tone(1, 2 * RATE), 24, 2 * RATE)
    with pytest.raises(DataError, match=r"different sample rates \(got '.*800 Hz: 1x.*`--rate HZ`, for example 800"):
        packed(tmp_path / "in", tmp_path / "out.h5")
    result = packed(tmp_path / "in", tmp_path / "out.h5", rate=RATE)
    inputs = content(tmp_path / "out.h5")["train/inputs"][:, 0]
    np.testing.assert_allclose(inputs[0], tone(0), atol=1e-4)
    np.testing.assert_allclose(inputs[1, 50:-50], tone(1)[50:-50], atol=0.01)
    assert any("1 are resampled" in note for note in result["notes"])


def test_recordings_of_several_lengths_are_cut_on_request(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a" / "0.wav", tone(0))
    write_wav(tmp_path / "in" / "a" / "1.wav", tone(1)[:300])
    with pytest.raises(DataError, match=r"different lengths.*300: 1x, 400: 1x.*`--length STEPS`"):
        packed(tmp_path / "in", tmp_path / "out.h5")
    packed(tmp_path / "in", tmp_path / "out.h5", length=350)
    inputs = content(tmp_path / "out.h5")["train/inputs"][:, 0]
    assert inputs.shape == (2, 350) and not inputs[1, 300:].any() and inputs[0, 300:].any()


def test_recordings_of_8_bits_are_padded_with_silence(tmp_path: Path) -> None:
    for number, steps in enumerate((8, 4)):
        path = tmp_path / "in" / "a" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(RATE)
            file.writeframes(bytes([200] * steps))
    packed(tmp_path / "in", tmp_path / "out.h5", length=8)
    inputs = content(tmp_path / "out.h5")["train/inputs"][:, 0]
    assert inputs.tolist() == [[200] * 8, [200] * 4 + [128] * 4]


def test_link_to_a_missing_recording_is_named(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a" / "0.wav", tone(0))
    (tmp_path / "in" / "a" / "1.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(DataError, match=r"1\.wav: is a recording that cannot be read: .*No such file"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def test_images_of_8_and_16_bits_are_not_mixed(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "in" / "a").mkdir(parents=True)
    image.fromarray(np.full((4, 4), 900, np.uint16)).save(tmp_path / "in" / "a" / "0.png")
    image.fromarray(np.full((4, 4), 90, np.uint8)).save(tmp_path / "in" / "a" / "1.png")
    with pytest.raises(DataError, match=r"different depths.*0\.png"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def test_recordings_with_two_channels_and_a_table(tmp_path: Path) -> None:
    for number in range(4):
        write_wav(tmp_path / "in" / f"{number}.wav", np.repeat(tone(number), 2), channels=2)
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{n}.wav,{n}.5\n" for n in range(4)))
    result = packed(tmp_path / "in", tmp_path / "out.h5", targets=str(tmp_path / "labels.csv"))
    assert (result["task"], result["input_shape"]) == ("regression", [2, NUM_STEPS])
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], np.arange(4) + np.float32(0.5))


def test_a_truncated_recording_is_named(tmp_path: Path) -> None:
    for number in range(2):
        write_wav(tmp_path / "in" / "a" / f"{number}.wav", tone(number))
    path = tmp_path / "in" / "a" / "1.wav"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a/1\.wav: is a recording that ends too early"):
        packed(tmp_path / "in", tmp_path / "out.h5")
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"a/1\.wav: is a recording that cannot be read"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def write_stack(path: Path, pages: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)


def test_stacks_in_class_folders_are_volumes(tmp_path: Path) -> None:
    stacks = images(4, shape=(3, 8, 7)).astype(np.uint16) * 3
    for number in range(4):
        write_stack(tmp_path / "in" / ["a", "b"][number // 2] / f"{number}.tif", stacks[number])
    result = packed(tmp_path / "in", tmp_path / "out.h5")
    assert (result["input_shape"], result["input_dtype"]) == ([1, 3, 8, 7], "uint16")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 0], stacks)


def test_pages_of_one_stack_are_samples(tmp_path: Path) -> None:
    pages, masks = images(9, shape=(8, 7)), images(9, 1, (8, 7)) % 3
    write_stack(tmp_path / "in.tif", pages)
    write_stack(tmp_path / "masks.tif", masks)
    result = packed(tmp_path / "in.tif", tmp_path / "out.h5", targets="masks.tif", splits="train=.6,test=.4")
    assert (result["task"], result["sizes"]) == ("segmentation", {"train": 5, "test": 4})
    np.save(tmp_path / "y.npy", labels(9))
    packed(tmp_path / "in.tif", tmp_path / "labels.h5", targets="y.npy")
    np.testing.assert_array_equal(content(tmp_path / "labels.h5")["train/inputs"][:, 0], pages)
    np.testing.assert_array_equal(content(tmp_path / "labels.h5")["train/targets"], labels(9))
    with pytest.raises(DataError, match=r"in\.tif: needs targets for its pages.*`--targets FILE`"):
        packed(tmp_path / "in.tif", tmp_path / "no.h5")


@pytest.mark.parametrize("values", [(0, 255), (0, 1, 2), (0, 7, 9)])
def test_images_with_masks(values: tuple[int, ...], tmp_path: Path) -> None:
    x = images(5, shape=(8, 7, 3))
    numbers = images(5, 1, (8, 7)) % len(values)
    write_images(tmp_path / "in" / "images", x)
    write_images(tmp_path / "in" / "masks", np.array(values, np.uint8)[numbers])
    (tmp_path / "in" / "masks" / "000.png").rename(tmp_path / "in" / "masks" / "000_mask.png")
    options: dict[str, Any] = {"classes": "remap"} if values == (0, 7, 9) else {}
    result = packed(tmp_path / "in", tmp_path / "out.h5", **options)
    assert result["task"] == "segmentation"
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], numbers)


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "images", images(3))
    write_images(tmp_path / "in" / "masks", images(2))
    with pytest.raises(DataError, match=r"images/002\.png: has no mask with this name in .*masks"):
        packed(tmp_path / "in", tmp_path / "out.h5")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore")
def test_zarr(version: Any, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "in.zarr"), mode="w", zarr_format=version)
    for split, num in (("train", 41), ("test", 12)):
        part = group.create_group(split)
        part.create_array("images", data=images(num, shape=(5, 6)), chunks=(7, 5, 6))
        part.create_array("labels", data=labels(num))
    result = packed(tmp_path / "in.zarr", tmp_path / "out.h5")
    assert result["sizes"] == {"train": 41, "test": 12}
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 0], images(41, shape=(5, 6)))
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["test/targets"], labels(12))


def test_a_damaged_zarr_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    (tmp_path / "in.zarr").mkdir()
    (tmp_path / "in.zarr" / "zarr.json").write_text("{")
    with pytest.raises(DataError, match=r"in\.zarr: cannot be read as a zarr group"):
        packed(tmp_path / "in.zarr", tmp_path / "out.h5")


def test_one_zarr_array_is_no_group(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "in.zarr"), np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"is one array, not a group.*np\.save"):
        packed(tmp_path / "in.zarr", tmp_path / "out.h5")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 0.2, 1e9])
def test_rates_that_no_recording_has(rate: float, tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a" / "0.wav", tone(0))
    with pytest.raises(DataError, match=r"^--rate: "):
        packed(tmp_path / "in", tmp_path / "out.h5", rate=rate)


def test_a_recording_of_another_codec_names_the_conversion(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a" / "0.wav", tone(0), bits=8)
    header = bytearray((tmp_path / "in" / "a" / "0.wav").read_bytes())
    header[20:22] = (7).to_bytes(2, "little")  # mu-law
    (tmp_path / "in" / "a" / "0.wav").write_bytes(header)
    with pytest.raises(DataError, match="ffmpeg -i FILE -c:a pcm_s16le"):
        packed(tmp_path / "in", tmp_path / "out.h5")
