"""Formats that are not packed, and the tool or command that converts each to one that is."""

from __future__ import annotations

from hpc_dl.data.packing.place import Place

_DICOM = "convert the series with `dcm2niix -z y -o OUT FOLDER`, and pack the folder OUT"
_SHEET = "save the sheet as CSV: `libreoffice --headless --convert-to csv FILE`"
_EEG = "read it with MNE and save arrays: `np.save('x.npy', mne.io.read_raw(FILE).get_data())`, likewise y.npy"
_R = "in R: `write.csv(readRDS('FILE'), 'FILE.csv', row.names = FALSE)`; for .RData, `load` it first"
_PICKLE = (
    "opening it would run code from the file: in a script that trusts it, save plain arrays, `np.savez('x.npz', x=…, "
    "y=…)`"
)
_ARCHIVE = "unpack it (`tar -xf FILE`, `unzip FILE`), and pack the folder"
_STATISTICS = "convert it: `pandas.read_spss`, `read_stata` or `read_sas`, then `.to_parquet('FILE.parquet')`"
_JSON = "convert it to a table: `pandas.read_json(FILE).to_parquet('FILE.parquet')`"
_ARROW = "convert it: `pandas.read_feather(FILE).to_parquet('FILE.parquet')`"
_DATABASE = "export a table as CSV: `sqlite3 -header -csv FILE 'select * from TABLE' > FILE.csv`"
_AUDIO = "convert it: `ffmpeg -i FILE FILE.wav`, one WAV file per sample in a folder per class"
_IMAGE = "convert it: `magick FILE FILE.png` (ImageMagick)"
_VIDEO = "save the frames as images: `ffmpeg -i FILE CLASS/%06d.png`"
_SLIDE = "convert it: `bfconvert FILE FILE.tif` (Bio-Formats)"
_FREESURFER = "convert it: `mri_convert FILE FILE.nii.gz` (FreeSurfer)"
_ITK = "convert it: `SimpleITK.WriteImage(SimpleITK.ReadImage(FILE), 'FILE.nii.gz')`"
_DOCUMENT = "save it as plain text (`pdftotext FILE`, `pandoc FILE -o FILE.txt`), and pack the .txt file"
_ASTRONOMY = "save the arrays: `np.save('x.npy', astropy.io.fits.getdata(FILE))`, likewise y.npy"
_CELLS = "convert it: `anndata.io.read_loom(FILE).write_h5ad('FILE.h5ad')`"

#: By the end of the file's name.
_REMEDIES: dict[str, str] = {
    **dict.fromkeys((".dcm", ".dicom", ".ima"), _DICOM),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), _SHEET),
    **dict.fromkeys((".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".fif.gz", ".set", ".cnt"), _EEG),
    **dict.fromkeys((".rds", ".rda", ".rdata"), _R),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt"), _PICKLE),
    **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".sav", ".dta", ".sas7bdat", ".xpt"), _STATISTICS),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _JSON),
    **dict.fromkeys((".feather", ".arrow", ".orc"), _ARROW),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), _DATABASE),
    **dict.fromkeys((".mp3", ".flac", ".ogg", ".m4a", ".aiff", ".aif", ".opus"), _AUDIO),
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".exr", ".dng", ".cr2", ".nef"), _IMAGE),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), _VIDEO),
    **dict.fromkeys((".svs", ".ndpi", ".czi", ".nd2", ".lif", ".vsi", ".oib"), _SLIDE),
    **dict.fromkeys((".mgz", ".mgh", ".mnc"), _FREESURFER),
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd"), _ITK),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".rtf", ".html", ".tex"), _DOCUMENT),
    **dict.fromkeys((".fits", ".fit", ".fits.gz"), _ASTRONOMY),
    ".loom": _CELLS,
    ".zarr.zip": "unpack it to a folder (`unzip FILE -d FOLDER.zarr`), and pack that",
    ".hdr": "convert the pair to NIfTI: `nibabel.save(nibabel.load('FILE.img'), 'FILE.nii.gz')`",
    ".root": "export the tree with uproot: `uproot.open(FILE)[TREE].arrays(library='pd').to_parquet('FILE.parquet')`",
    ".tfrecord": "read it with TensorFlow, and save plain arrays: `np.savez('x.npz', x=…, y=…)`",
    ".mdb": "read the LMDB environment with the script that wrote it, and save `np.savez('x.npz', x=…, y=…)`",
    ".nii": "specify the folder with the volumes",
    ".nii.gz": "specify the folder with the volumes",
    ".wav": "specify the folder with the recordings, one folder per class",
}
#: What a file may hold that is one sample among others.
_SAMPLES = {_IMAGE, _AUDIO, _VIDEO, _SLIDE, _DICOM, _ITK, _FREESURFER, _EEG}
_ONE_FILE = (".csv", ".tsv", ".csv.gz", ".parquet", ".h5", ".hdf5", ".mat", ".npz", ".h5ad", ".nwb")
_TEXTS = (".txt", ".text", ".md")
_DICOM_MAGIC = b"DICM"  # at byte 128


def remedy_for(place: Place) -> str:
    """Return what to do about a file or folder that no format claims."""
    if place.is_folder:
        found = [remedy for suffix, remedy in _REMEDIES.items() if place.holds(suffix)]
        if place.holds(*_ONE_FILE):
            found.append(
                "specify one file of the folder; join several tables first: "
                "`pandas.concat(map(pandas.read_csv, FILES)).to_csv('ALL.csv', index=False)`"
            )
        if place.holds(*_TEXTS):
            found.append("specify one text file, or remove the files that are not text from the folder")
        return found[0] if found else "convert the files to a supported format"
    matching = [suffix for suffix in _REMEDIES if place.is_file(suffix)]
    if matching:
        return _REMEDIES[max(matching, key=len)]
    if place.start(132)[128:] == _DICOM_MAGIC:
        return _DICOM
    return "convert it to a supported format"


def sample_remedy(suffix: str) -> str | None:
    """Return how to convert a file that may be a sample, such as a photo or a recording."""
    remedy = _REMEDIES.get(suffix)
    return remedy if remedy in _SAMPLES else None
