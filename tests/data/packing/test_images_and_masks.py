"""Photos that are turned, deep colors, and masks of other programs."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from hpc_dl.errors import DataError

from .conftest import content, images, packed
from .test_kinds import write_images, write_volume

SHAPE = (6, 4)


def masked(folder: Path, masks: list[np.ndarray], mode: str | None = None) -> Path:
    write_images(folder / "images", images(len(masks), shape=SHAPE))
    (folder / "masks").mkdir()
    for number, mask in enumerate(masks):
        image = Image.fromarray(mask)
        (image.convert(mode) if mode else image).save(folder / "masks" / f"{number:03d}.png")
    return folder


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation: int, tmp_path: Path) -> None:
    upright = np.arange(24, dtype=np.uint8).reshape(SHAPE)
    image = Image.fromarray(upright)
    # What a camera stores: the opposite of what makes it upright.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = image.getexif()
    exif[0x0112] = orientation
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name in ("0.png", "1.tif"):
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "in" / "a" / name, exif=exif)
    notes = packed(tmp_path / "in", tmp_path / "out.h5")["notes"]
    assert content(tmp_path / "out.h5")["train/inputs"].tolist() == [[upright.tolist()]] * 2
    assert ("1 of 2 images are turned upright, as their EXIF data say" in notes) is (orientation > 1)


def test_colors_of_16_bits_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "0.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(range(24)))
    with pytest.raises(DataError, match=r"0\.ppm: has colors of 16 bits.*-depth 8"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def test_a_folder_name_that_is_no_utf8(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "a", images(1))
    write_images(tmp_path / "in" / "b\udce9", images(1))
    result = packed(tmp_path / "in", tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/targets"].tolist() == [0, 1] and len(result["class_names"]) == 2


def test_colors_of_masks_become_classes_on_request(tmp_path: Path) -> None:
    mask = np.zeros((*SHAPE, 3), np.uint8)
    mask[:2], mask[2:3] = (255, 0, 0), (0, 0, 255)
    folder = masked(tmp_path / "in", [mask, mask])
    with pytest.raises(DataError, match=r"has masks with 3 colors.*`--classes remap`"):
        packed(folder, tmp_path / "out.h5")
    result = packed(folder, tmp_path / "out.h5", classes="remap")
    assert result["class_names"] == ["#000000", "#0000ff", "#ff0000"]
    assert content(tmp_path / "out.h5")["train/targets"][0, :, 0].tolist() == [2, 2, 1, 0, 0, 0]


def test_gray_masks_saved_as_rgb(tmp_path: Path) -> None:
    folder = masked(tmp_path / "in", [np.arange(24, dtype=np.uint8).reshape(SHAPE) % 3] * 2, "RGB")
    packed(folder, tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/targets"][0, 0].tolist() == [0, 1, 2, 0]


def test_masks_in_jpeg_are_refused(tmp_path: Path) -> None:
    folder = masked(tmp_path / "in", [np.zeros(SHAPE, np.uint8)])
    Image.open(folder / "masks" / "000.png").save(folder / "masks" / "000.jpg")
    (folder / "masks" / "000.png").unlink()
    with pytest.raises(DataError, match=r"mask in JPEG, which changes its values.*-threshold"):
        packed(folder, tmp_path / "out.h5")


def test_masks_belong_to_the_image_in_the_same_subfolder(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_images(tmp_path / "in" / "images" / name, images(1, shape=SHAPE))
        write_images(tmp_path / "in" / "masks" / name, np.full((1, *SHAPE), number, np.uint8))
    packed(tmp_path / "in", tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/targets"][:, 0, 0].tolist() == [0, 1]
    (tmp_path / "in" / "masks" / "a" / "000_mask.png").write_bytes(
        (tmp_path / "in" / "masks" / "a" / "000.png").read_bytes()
    )
    with pytest.raises(DataError, match="belongs to the same image as another mask"):
        packed(tmp_path / "in", tmp_path / "again.h5")


def volumes(folder: Path, mask: np.ndarray, image: np.ndarray | None = None, affine: Any = None) -> Path:
    for number in range(2):
        write_volume(
            folder / "images" / f"{number}.nii", np.zeros(mask.shape[:3], np.int16) if image is None else image
        )
        (folder / "masks").mkdir(exist_ok=True)
        saved = nibabel.Nifti1Image(mask, np.eye(4) if affine is None else affine)
        nibabel.save(saved, folder / "masks" / f"{number}.nii")
    return folder


@pytest.mark.parametrize(
    ("values", "options", "names", "classes"),
    [
        ([0, 1000, 2000, 1000], {"classes": "remap"}, ["0", "1000", "2000"], [0, 1, 2, 1]),
        ([-1, 0, 1, 1], {"classes": "remap"}, ["-1", "0", "1"], [0, 1, 2, 2]),
        ([0, 255, 255, 0], {}, ["0", "255"], [0, 1, 1, 0]),
        ([0, 1, 2, 2], {}, [], [0, 1, 2, 2]),
    ],
)
def test_values_of_volumes_become_classes(
    values: list[int], options: dict[str, Any], names: list[str], classes: list[int], tmp_path: Path
) -> None:
    mask = np.array(values, np.int16).reshape(2, 2, 1, 1)  # with a fourth axis, as some programs save it
    result = packed(volumes(tmp_path / "in", mask), tmp_path / "out.h5", **options)
    assert result["class_names"] == names
    assert content(tmp_path / "out.h5")["train/targets"][1].ravel().tolist() == classes


@pytest.mark.parametrize(
    ("mask", "image", "affine", "problem"),
    [
        (np.full((2, 2, 2), 1000, np.int16), None, None, "not a class.*got 1000; allowed: 0 to 255.*--classes remap"),
        (np.full((2, 2, 2), -1, np.int16), None, None, "not a class.*got -1.*--classes remap"),
        (np.zeros((2, 2, 2, 3), np.int16), None, None, "differs in shape from its volume"),
        (np.zeros((2, 2, 2), np.int16), None, np.diag([-1, 1, 1, 1]), "axes in other directions.*got 'LAS'"),
        (np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 2), np.complex64), None, "not real numbers.*complex64"),
        (np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 2), [(c, "u1") for c in "RGB"]), None, "not real numbers"),
    ],
)
def test_volumes_that_are_not_packed(mask: Any, image: Any, affine: Any, problem: str, tmp_path: Path) -> None:
    folder = volumes(tmp_path / "in", mask, image, affine)
    with pytest.raises(DataError, match=problem):
        packed(folder, tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("table", "targets"),
    [
        ("page,label\n0,a\n1,b\n2,a\n", [0, 1, 0]),
        ("label\n3\n5\n3\n", [0, 1, 0]),
        ("0.5\n1.5\n2\n", [0.5, 1.5, 2]),
        ("page,label\n2,a\n1,b\n3,a\n", "does not list the pages in their order"),
        ("label\na\nb\n", "has targets of shape"),
        ("label\na\nb\nnan\n", "line 4: has no label"),
    ],
)
def test_labels_of_pages_in_a_table(table: str, targets: list[float] | str, tmp_path: Path) -> None:
    first, *others = [Image.fromarray(image).quantize(4) for image in images(3, shape=(*SHAPE, 3))]
    first.save(tmp_path / "in.tif", save_all=True, append_images=others)
    (tmp_path / "y.csv").write_text(table)
    if isinstance(targets, str):
        with pytest.raises(DataError, match=targets):
            packed(tmp_path / "in.tif", tmp_path / "out.h5", targets="y.csv")
        return
    packed(tmp_path / "in.tif", tmp_path / "out.h5", targets="y.csv")
    arrays = content(tmp_path / "out.h5")
    assert arrays["train/targets"].tolist() == targets
    np.testing.assert_array_equal(arrays["train/inputs"][1], np.moveaxis(np.asarray(others[0].convert("RGB")), -1, 0))
