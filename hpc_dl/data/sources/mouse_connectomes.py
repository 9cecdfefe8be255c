"""Connectomes of 32 mouse brains from diffusion MRI: graphs of 332 regions, each to be given its
large structure.

N. Wang et al., Variability and heritability of mouse brain structure: microscopic MRI atlases and
connectomes for diverse strains, NeuroImage 222, 2020, as graspologic ships them: under MIT, says
its LICENSE.txt, and nothing in it tells a license of the data themselves. Of the eight animals of
each of four strains five are for training, one for validation, two for the test. All brains have
the regions of one atlas: the test has new animals, but no new region. Nearly every pair of regions
is connected by some fibre, so each region keeps its strongest connections only.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "pypi:graspologic==3.4.4"
_FOLDER = "graspologic/datasets/mice"
_SHA256 = {
    "atlas.csv": "a12118f0f991ae9b17ee17b009bfb363995cab59aa7a7e8eb93bd268e923600d",
    "participants.csv": "a3b7aa4de77ba8bc2e326fb33d7e96581f96b34be5d6a8dad0909617e6a0086e",
}
# Of the 32 files of each kind one after another, in the order of participants.csv.
_EDGES_SHA256 = "ffb9fe8dd8716dd43118677aff73ae363af507238f1f5176b17ce8bf07d4aef2"
_FEATURES_SHA256 = "a101a58b248c76c93e8b486abd784d446f3fc850fc99a6dc7672684fb032421d"
_STRUCTURES = ("isocortex", "pallium", "subpallium", "diencephalon", "midbrain", "hindbrain", "white_matter")
_NUM_REGIONS = 332  # those of the left hemisphere, then the same of the right one
_NUM_STRONGEST = 16
_SPLIT_SIZES = {"train": 20, "val": 4, "test": 8}
_SPLIT_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources._fetch import obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, _PACKAGE, Path(scratch), given)
        splits = _splits(folder / _FOLDER)
    write(
        path,
        splits,
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://doi.org/10.1016/j.neuroimage.2020.117274",
        provenance=f"{origin}; nodes: ln(1 + connected regions), ln(1 + fibres), ln of the volume in mm³, adc, dwi, "
        f"e1, e2, e3, fa, rd; edges in both directions, of each region those to the {_NUM_STRONGEST} with the most "
        f"fibres; edge_features: ln of the fibres; splits over strains equally, seed {_SPLIT_SEED}",
        shared=SOURCE.shared,
        class_names=_STRUCTURES,
        input_units="see provenance",
        inputs=("nodes", "edges", "edge_features"),
    )


def _splits(folder: Path) -> dict[str, dict[str, Any]]:
    """The graphs of each split by their datasets."""
    import numpy as np

    from hpc_dl.data.files.splits import stratified
    from hpc_dl.data.ragged import Ragged
    from hpc_dl.data.sources._fetch import checked

    atlas, participants = (_rows(checked(folder / name, digest)) for name, digest in _SHA256.items())
    labels = np.array([_STRUCTURES.index(row["Macrostructure"]) for row in atlas] * 2, np.int64)
    animals = [row["participant_id"].removeprefix("sub-") for row in participants]
    strains = np.unique([row["genotype"] for row in participants], return_inverse=True)[1]
    fibres = _read([folder / f"edgelists/sub-{animal}_ses-1_dti.edgelist" for animal in animals], _EDGES_SHA256)
    regions = _read([folder / f"features/{animal}.csv" for animal in animals], _FEATURES_SHA256)
    graphs = [
        _graph(np.loadtxt(edges), np.loadtxt(table[3:], delimiter=",")) | {"targets": labels}
        for edges, table in zip(fibres, regions, strict=True)  # three lines of titles
    ]
    chosen = stratified(strains, _SPLIT_SIZES, _SPLIT_SEED)
    return {
        split: {name: Ragged.of([graphs[row][name] for row in rows]) for name in graphs[0]}
        for split, rows in chosen.items()
    }


def _graph(fibres: NDArray[Any], regions: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """One brain.

    Args:
        fibres: (pairs, 3) region, region, number of fibres; each pair once.
        regions: (1 + 332, 10) ROI, voxels, volume and averages of the diffusion; what lies outside
            has ROI 0.
    """
    import numpy as np

    adjacency = np.zeros((_NUM_REGIONS, _NUM_REGIONS))
    first, second = fibres[:, :2].astype(np.intp).T
    adjacency[first, second] = adjacency[second, first] = fibres[:, 2]
    rank = np.argsort(np.argsort(-adjacency, axis=1, kind="stable"), axis=1)
    strong = rank < _NUM_STRONGEST
    kept = (strong | strong.T) & (adjacency > 0)
    inside = regions[regions[:, 0] > 0]
    counts = np.log1p([(adjacency > 0).sum(1), adjacency.sum(1)])
    return {
        "nodes": np.column_stack([*counts, np.log(inside[:, 2]), inside[:, 3:]]).astype(np.float32),
        "edges": np.argwhere(kept),
        "edge_features": np.log(adjacency[kept])[:, None].astype(np.float32),
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read(paths: list[Path], sha256: str) -> list[list[str]]:
    """The lines of files, if they are those that were meant."""
    import hashlib

    from hpc_dl.errors import DataError

    try:
        contents = [path.read_bytes() for path in paths]
    except OSError as error:
        raise DataError.at(error.filename, f"cannot be read: {error.strerror}", remedy="fetch it again") from None
    if (found := hashlib.sha256(b"".join(contents)).hexdigest()) != sha256:
        raise DataError.at(
            paths[0].parent,
            "does not hold the files that were expected",
            value=f"SHA-256 of all {found}",
            allowed=sha256,
            remedy="fetch it again",
        )
    return [content.decode().splitlines() for content in contents]


SOURCE = Source(
    name="mouse_connectomes",
    title="Regions of 32 mouse brains and the fibres between them, by large structure (Wang et al., 2020)",
    task="node_classification",
    size="32 graphs of 332 nodes, 10 features of a node, 1 of an edge, 7 classes of nodes",
    license="LicenseRef-unknown AND MIT",
    shared="atlas",  # every animal has the regions of one atlas: animals are new in the test, regions are not
    fetched="Python package graspologic 3.4.4, 5 MB",
    make=_make,
)
