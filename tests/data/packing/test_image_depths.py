"""Images of 2 to 32 bits: every value of the file is stored, or the file is refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpc_dl.errors import DataError

from .conftest import content, images, packed
from .test_kinds import write_images


def write_pgm(path: Path, values: np.ndarray, maxval: int, plain: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    stored = values.astype(">u2" if maxval > 255 else "u1").tobytes()
    pixels = " ".join(map(str, values.ravel())).encode() if plain else stored
    path.write_bytes(b"P%d\n%d %d\n%d\n" % (2 if plain else 5, width, height, maxval) + pixels)


def write_tiff(path: Path, values: np.ndarray, sample_format: int) -> None:
    """Write integers of any type; 2 is the sample format of signed ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    facts = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 134, 277: 1, 278: height,
             279: values.nbytes, 339: sample_format}  # fmt: skip
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in facts.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(facts)) + tags + struct.pack("<I", 0) + values.tobytes())


@pytest.mark.parametrize(("maxval", "plain"), [(15, False), (4095, False), (4095, True), (65535, False), (65534, True)])
def test_gray_pnm_is_not_scaled(maxval: int, plain: bool, tmp_path: Path) -> None:
    values = np.linspace(0, maxval, 24).astype(np.int64).reshape(6, 4)
    write_pgm(tmp_path / "in" / "a" / "0.pgm", values, maxval, plain)
    result = packed(tmp_path / "in", tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/inputs"][0, 0].tolist() == values.tolist()
    assert not any("largest possible" in note for note in result["notes"])


def test_other_largest_values_of_pnm_are_reported(tmp_path: Path) -> None:
    for number, maxval in enumerate((1023, 4095)):
        write_pgm(tmp_path / "in" / "a" / f"{number}.pgm", np.full((3, 3), 1000), maxval)
    notes = packed(tmp_path / "in", tmp_path / "out.h5")["notes"]
    assert "values are stored as in the files, whose largest possible ones differ: 1023, 4095" in notes
    assert (content(tmp_path / "out.h5")["train/inputs"] == 1000).all()


@pytest.mark.parametrize(
    ("values", "sample_format", "stored"),
    [
        (np.array([[0, 7], [2**31 - 1, 1]], "<u4"), 1, True),
        (np.array([[0, 7], [2**31, 1]], "<u4"), 1, False),
        (np.array([[-5, 7], [2**31 - 1, 1]], "<i4"), 2, True),
        (np.array([[5, 127]], "i1"), 2, True),
        (np.array([[5, -1]], "i1"), 2, False),
        (np.array([[-5, 300]], "<i2"), 2, True),
        (np.array([[5, 65535]], "<u2"), 1, True),
    ],
)
def test_integers_of_tiff_are_stored_or_refused(
    values: np.ndarray, sample_format: int, stored: bool, tmp_path: Path
) -> None:
    write_tiff(tmp_path / "in" / "a" / "0.tif", values, sample_format)
    if stored:
        packed(tmp_path / "in", tmp_path / "out.h5")
        assert content(tmp_path / "out.h5")["train/inputs"][0, 0].tolist() == values.tolist()
    else:
        with pytest.raises(DataError, match=r"0\.tif: is an image that cannot be read: it has .*integers .*; save"):
            packed(tmp_path / "in", tmp_path / "out.h5")
        assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("kind", ["png2", "png4", "pgm"])
def test_class_numbers_of_few_bits(kind: str, tmp_path: Path) -> None:
    mask = np.arange(24).reshape(6, 4) % 4
    write_images(tmp_path / "in" / "images", images(1, shape=mask.shape))
    path = tmp_path / "in" / "masks" / "000.png"
    if kind == "pgm":
        write_pgm(path.with_suffix(".pgm"), mask, 3)
    else:
        write_gray_png(path, mask, int(kind[3:]))
    packed(tmp_path / "in", tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/targets"][0].tolist() == mask.tolist()


def write_gray_png(path: Path, values: np.ndarray, bits: int) -> None:
    """Write gray values of few bits: as a palette, whose color type is then replaced."""
    path.parent.mkdir(parents=True)
    image = Image.fromarray(values.astype(np.uint8))
    image = image.convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette(bytes(3 << bits))
    image.save(path, bits=bits)
    data, chunks, at = path.read_bytes(), b"", 8
    while at < len(data):
        (size,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if name == b"IHDR":
            body = body[:9] + b"\0" + body[10:]
        if name != b"PLTE":
            chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        at += 12 + size
    path.write_bytes(data[:8] + chunks)
