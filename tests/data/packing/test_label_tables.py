"""Tables with one label for each file, and files of a folder that are not packed."""

from pathlib import Path

import pytest

from hpc_dl.errors import DataError

from .conftest import content, images, packed
from .test_kinds import write_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The images a/0.png, a/1.png, b/0.png, b/1.png."""
    for name in "ab":
        write_images(tmp_path / "in" / name, images(2))
        for number, image in enumerate(sorted((tmp_path / "in" / name).iterdir())):
            image.rename(image.with_name(f"{number}.png"))
    return tmp_path / "in"


def labels_of(folder: Path, table: str | bytes) -> tuple[list[int], dict[str, object]]:
    path = folder.parent / "labels.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    result = packed(folder, folder.parent / "out.h5", targets=str(path), force=True)
    return content(folder.parent / "out.h5")["train/targets"].tolist(), result


@pytest.mark.parametrize(
    "table",
    [
        "file,label\na/0.png,x\nb/0.png,y\na/1.png,y\nb/1.png,x\n",
        "/old/place/in/a/0.png,x\n/old/place/in/b/0.png,y\n/old/place/in/a/1.png,y\n/old/place/in/b/1.png,x\n",
        "filename;class\na\\0.png;x\nb\\0.png;y\na\\1.png;y\nb\\1.png;x\n",
        "id,path,age,Label\n7,a/0,3,x\n8,b/0,3, y \n9,a/1,3,y\n10,b/1,3,x\n",
    ],
)
def test_files_of_one_name_are_distinguished_by_their_folders(table: str, folder: Path) -> None:
    numbers, result = labels_of(folder, table)
    assert numbers == [0, 1, 1, 0] and result["class_names"] == ["x", "y"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("0.png,x\n1.png,y\n", "line 1: matches two files.*with their folders"),
        ("a/0.png,x\na/0.png,y\n", "line 2: has another label for the same file.*got 'y'; allowed: x, as in line 1"),
        ("a/0.png,nan\n", "0.png: has no label"),
        ("name,split,age\na/0.png,train,3\n", "has 3 columns, and it is unclear which are the file and the label"),
        ("", "is empty"),
        ("a/0.png,x\n".encode("utf-16"), "iconv -f utf-16"),
        ("a/0.png,é\n".encode("latin1"), "iconv -f windows-1252"),
        ("a/0.png,1\na/1.png,1_5\nb/0.png,2\nb/1.png,3\n", "has numbers in another notation"),
        ("a/0.png,1,5\n", "has 3 columns"),
        ("a/0.png;0,5\na/1.png;1,5\nb/0.png;2\nb/1.png;3\n", "has decimal commas"),
        ("a/0.png,1\na/1.png,2.5\nb/0.png,2\nb/1.png,inf\n", "is not a finite number"),
    ],
)
def test_a_label_that_is_not_clear_is_no_label(table: str | bytes, problem: str, folder: Path) -> None:
    with pytest.raises(DataError, match=problem):
        labels_of(folder, table)


def test_lines_and_names_that_may_be_mistakes_are_noted(folder: Path) -> None:
    table = "file,label\na/0.png,Cat\nb/0.png,cat\na/1.png,dog\nb/1.png,dog\nc/9.png,dog\n"
    notes = "; ".join(labels_of(folder, table)[1]["notes"])  # type: ignore[arg-type]
    assert "1 lines of labels.csv match no file: 9.png" in notes
    assert "different classes: 'Cat' and 'cat'" in notes


def test_files_that_are_left_out_are_counted(folder: Path) -> None:
    for name in ("a/x.heic", "a/y.HEIC", "b/notes.pdf", "b/.hidden"):
        (folder / name).write_bytes(b"x")
    (note,) = [note for note in packed(folder, folder.parent / "out.h5")["notes"] if "left out" in note]
    assert note == (
        "3 files of the folder are left out: 2 .heic, 1 .pdf; .heic: convert it: `magick FILE FILE.png` (ImageMagick)"
    )
