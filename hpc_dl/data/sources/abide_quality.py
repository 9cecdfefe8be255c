"""The quality of 1,101 magnetic resonance images of heads from 17 sites, each rated by a person: to
be excluded or not?

O. Esteban et al., MRIQC: advancing the automatic prediction of image quality in MRI from unseen
sites, PLoS ONE 12(9), 2017, on the T1-weighted images of ABIDE I (A. Di Martino et al., The autism
brain imaging data exchange, Molecular Psychiatry 19, 2014). The Apache 2.0 license of mriqc-learn,
which ships the table, stands in its wheel; nothing in it tells a license of the ratings and the
images themselves.

Whole sites go to a split: every site has a scanner, a protocol and participants of its own, and
what is asked is how well images of a new site are judged. The five sites of the test and the four
for validation were chosen, before anything was trained, so that each split has its share of the
images and of the excluded ones (31 %); from site to site these are 4 to 90 %. The participants
50279 and 50286, both of UM, have the same values.

Classes: two raters gave 1 (accept), 0 (doubtful) or −1 (exclude), each to 600 images: every image
    has a rating, 99 have
two. An image is to be excluded when one of them said so; doubtful ones are accepted, as by MRIQC's
own classifier. A third column, ``rater_3``, is left out: nobody tells whose it is, and it excludes
fewer than half as many.

Features: the 62 image quality metrics in the order of the file (cjv, cnr, efc, fber, fwhm, …,
    wm2max). Left out are the
six of size and spacing: they tell the protocol of the site.
"""

from __future__ import annotations

import tempfile
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

    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.sources._fetch import checked, find_file, obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"pypi:{_PACKAGE}", Path(scratch), given)
        text = checked(find_file(folder, "abide.tsv"), _SHA256).read_text(encoding="ascii")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    metrics = [name for name in rows[0] if name not in _NO_METRICS]
    inputs = np.array([[row[name] for name in metrics] for row in rows], np.float32)
    labels = np.array(["-1.0" in [row[rater] for rater in _RATERS] for row in rows], np.int64)
    chosen = {split: np.isin([row["site"] for row in rows], sites) for split, sites in _SITES.items()}
    write(
        path,
        {split: Samples(inputs[mask], labels[mask]) for split, mask in chosen.items()},
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://doi.org/10.1371/journal.pone.0184661",
        provenance=f"abide.tsv, {origin}; excluded if {' or '.join(_RATERS)} is -1; whole sites: "
        + "; ".join(f"{split} {', '.join(sites)}" for split, sites in _SITES.items()),
        shared=SOURCE.shared,
        class_names=("accept", "exclude"),
        input_units="see https://mriqc.readthedocs.io/en/latest/iqms/t1w.html",
    )


SOURCE = Source(
    name="abide_quality",
    title="Which images of heads are to be excluded, by metrics of their quality, at new sites (Esteban et al., 2017)",
    task="classification",
    size="1,101 vectors of 62 from 17 sites, 2 classes of 758 and 343",
    license="LicenseRef-unknown AND Apache-2.0",
    shared="none",  # whole sites: no scanner and no participant is on both sides
    fetched=f"Python package {_PACKAGE}, 1 MB",
    make=_make,
)
