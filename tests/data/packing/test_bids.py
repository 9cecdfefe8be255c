"""BIDS folders: one contrast becomes inputs, participants.tsv or segmentations become targets."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hpc_dl.errors import DataError

from .conftest import content, packed

SUBJECTS = [f"{number:02d}" for number in range(1, 9)]
SHAPE = (3, 4, 5)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def volume(subject: str, session: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.full(shape, 10 * int(subject) + session, np.int16) + np.arange(np.prod(shape), dtype=np.int16).reshape(
        shape
    )


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Eight participants with two sessions, two contrasts, a series, segmentations, and
    derivatives."""
    folder = tmp_path / "bids"
    for subject in SUBJECTS:
        for session in (1, 2):
            stem = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
            save(folder / f"{stem}_T1w.nii.gz", volume(subject, session))
            save(folder / f"{stem}_T2w.nii.gz", np.zeros((2, 2, 2), np.int16))
            mask = (volume(subject, session) % 3).astype(np.float32)
            save(folder / "derivatives" / "seg" / f"{stem}_desc-manual_dseg.nii.gz", mask)
            save(folder / "derivatives" / "fmriprep" / f"{stem}_space-MNI_desc-preproc_T1w.nii.gz", np.ones((2, 2, 2)))
        save(
            folder / f"sub-{subject}/ses-1/func/sub-{subject}_ses-1_task-rest_bold.nii.gz",
            volume(subject, 1, (3, 4, 5, 6)),
        )
    lines = [f"sub-{s}\t{20 + int(s)}\t{['patient', 'control'][int(s) % 2]}\t1.{s}" for s in SUBJECTS]
    (folder / "participants.tsv").write_text("participant_id\tage\tgroup\tscore\n" + "\n".join(lines) + "\n")
    (folder / "dataset_description.json").write_text("{}")
    return folder


def test_one_contrast_and_a_column_of_participants(bids: Path, tmp_path: Path) -> None:
    result = packed(bids, tmp_path / "out.h5")
    arrays = content(tmp_path / "out.h5")
    expected = [volume(subject, session) for subject in SUBJECTS for session in (1, 2)]
    np.testing.assert_array_equal(arrays["train/inputs"][:, 0], expected)
    assert result["class_names"] == ["control", "patient"]
    np.testing.assert_array_equal(arrays["train/targets"], np.repeat([int(s) % 2 == 0 for s in SUBJECTS], 2))
    notes = "; ".join(result["notes"])
    assert "16 volumes of 8 participants" in notes
    assert (
        "inputs: *_T1w.nii*; 24 other volumes are not packed" in notes and "targets: group of participants.tsv" in notes
    )


def test_sessions_of_a_participant_stay_in_one_split(bids: Path, tmp_path: Path) -> None:
    result = packed(bids, tmp_path / "out.h5", targets="score", splits="train=.5,val=.25,test=.25")
    assert (result["task"], result["sizes"]) == ("regression", {"train": 8, "val": 4, "test": 4})
    seen = [
        {int(values[0, 0, 0]) // 10 for values in content(tmp_path / "out.h5")[f"{split}/inputs"][:, 0]}
        for split in ("train", "val", "test")
    ]
    assert sorted(len(part) for part in seen) == [2, 2, 4] and len(set.union(*seen)) == 8


def test_a_series_has_its_times_as_channels(bids: Path, tmp_path: Path) -> None:
    result = packed(bids, tmp_path / "out.h5", pattern="*_bold.nii.gz", targets="age", task="regression")
    assert result["input_shape"] == [6, *SHAPE]
    first = content(tmp_path / "out.h5")["train/inputs"][0]
    np.testing.assert_array_equal(first, np.moveaxis(volume("01", 1, (3, 4, 5, 6)), -1, 0))


def test_segmentations_of_the_derivatives(bids: Path, tmp_path: Path) -> None:
    result = packed(bids, tmp_path / "out.h5", targets="dseg")
    assert result["task"] == "segmentation"
    masks = [volume(subject, session) % 3 for subject in SUBJECTS for session in (1, 2)]
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], masks)


def test_a_missing_segmentation_is_named(bids: Path, tmp_path: Path) -> None:
    next(bids.rglob("sub-03_ses-2*dseg.nii.gz")).unlink()
    with pytest.raises(DataError, match=r"sub-03_ses-2_T1w\.nii\.gz: has no _dseg file of the same name"):
        packed(bids, tmp_path / "out.h5", task="segmentation")


def test_participants_without_label_are_named_or_left_out(bids: Path, tmp_path: Path) -> None:
    table = bids / "participants.tsv"
    text = (
        table.read_text().replace("sub-02\t22\tpatient", "sub-02\t22\tn/a").replace("sub-05\t25\tcontrol\t1.05\n", "")
    )
    table.write_text(text.replace("sub-07", "07"))
    with pytest.raises(DataError, match=r"has no group for 2 participants: sub-02, sub-05; .*`--missing drop`"):
        packed(bids, tmp_path / "out.h5")
    result = packed(bids, tmp_path / "out.h5", missing="drop")
    assert result["sizes"] == {"train": 12} and any("4 volumes without group" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "*_FLAIR.nii.gz"}, r"has no file of this pattern.*\*_T1w\.nii\.gz: 16"),
        ({"pattern": "*.nii.gz"}, r"has volumes of several kinds that fit.*'T1w', 'T2w'"),
        ({"targets": "grup"}, r"has no such column \(got 'grup'; allowed: age, group, score; dseg for segm"),
    ],
)
def test_unclear_choice_is_refused(options: dict[str, str], message: str, bids: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        packed(bids, tmp_path / "out.h5", **options)


def test_contrasts_without_a_usual_one_are_listed(bids: Path, tmp_path: Path) -> None:
    for file in list(bids.rglob("*_T1w.nii.gz")):
        file.unlink()
    with pytest.raises(
        DataError, match=r"several kinds \(allowed: \*_T2w\.nii\.gz: 16, \*_bold\.nii\.gz: 8\).*--pattern"
    ):
        packed(bids, tmp_path / "out.h5")


def test_labels_of_sessions(bids: Path, tmp_path: Path) -> None:
    for subject in SUBJECTS:
        table = bids / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
        table.write_text("session_id\tdiagnosis\nses-1\twell\n2\till\n")
    result = packed(bids, tmp_path / "out.h5", targets="diagnosis")
    assert content(tmp_path / "out.h5")["train/targets"].tolist() == [1, 0] * len(SUBJECTS)
    assert "targets: diagnosis of sessions.tsv" in result["notes"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (None, "participants.tsv: does not exist"),
        ("participant_id\tgroup\n" + "".join(f"{s.lstrip('0')}\ta\n" for s in SUBJECTS), "it lists sub-1, sub-2"),
        ("participant_id\tgroup\nsub-01\t\u00e9\n".encode("utf-16"), "iconv -f utf-16"),
        ("participant_id\tgroup\n" + "".join(f"sub-{s}\t1,{s}\n" for s in SUBJECTS), "decimal commas"),
    ],
)
def test_tables_that_do_not_fit_the_folders(
    table: str | bytes | None, problem: str, bids: Path, tmp_path: Path
) -> None:
    for folder in (bids / "derivatives", bids / "participants.tsv"):
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    if table is not None:
        (bids / "participants.tsv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(DataError, match=problem):
        packed(bids, tmp_path / "out.h5")


def test_participants_without_a_volume_are_noted(bids: Path, tmp_path: Path) -> None:
    with (bids / "participants.tsv").open("a") as file:
        file.write("sub-99\t40\tpatient\t1\n")
    assert any("1 participants of participants.tsv are not packed: sub-99" in note
               for note in packed(bids, tmp_path / "out.h5")["notes"])  # fmt: skip
