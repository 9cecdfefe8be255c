"""Connectomes of 32 mouse brains from diffusion MRI: predict the structure of each of 332 regions.

N. Wang et al., Variability and heritability of mouse brain structure: microscopic MRI atlases and
connectomes for diverse strains, NeuroImage 222, 2020, as shipped by graspologic. Its LICENSE.txt
says MIT; it states no license of the data themselves.

A sample is the graph of one animal. Of the eight animals of each of four strains, five are for
training, one for validation, two for the test. All brains have the regions of one atlas: the test
has new animals, but no new regions. Nearly every pair of regions is connected by some fiber, so
only the strongest connections of each region are kept.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDER = "graspologic/datasets/mice"
_SHA256 = {
    "atlas.csv": "a12118f0f991ae9b17ee17b009bfb363995cab59aa7a7e8eb93bd268e923600d",
    "participants.csv": "a3b7aa4de77ba8bc2e326fb33d7e96581f96b34be5d6a8dad0909617e6a0086e",
}
# Of the concatenation of the 32 files of each kind, in the order of participants.csv.
_EDGES_SHA256 = "ffb9fe8dd8716dd43118677aff73ae363af507238f1f5176b17ce8bf07d4aef2"
_FEATURES_SHA256 = "a101a58b248c76c93e8b486abd784d446f3fc850fc99a6dc7672684fb032421d"
_STRUCTURES = ("isocortex", "pallium", "subpallium", "diencephalon", "midbrain", "hindbrain", "white_matter")
_NUM_REGIONS = 332  # first the left hemisphere, then the same regions of the right one
_NUM_STRONGEST = 16
_SPLIT_SIZES = {"train": 20, "val": 4, "test": 8}


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.splits import stratified
    from hpc_dl.data.sources import _connectomes
    from hpc_dl.data.sources._fetch import package_files
    from hpc_dl.data.sources._splits import SPLIT_SEED

    with package_files(SOURCE.name, _connectomes.GRASPOLOGIC, given) as (folder, origin):
        graphs, genotypes = _read_graphs(folder / _FOLDER)
    strains = np.unique(genotypes, return_inverse=True)[1]
    rows = {split: chosen.tolist() for split, chosen in stratified(strains, _SPLIT_SIZES, SPLIT_SEED).items()}
    SOURCE.write(
        path,
        _connectomes.split_graphs(graphs, rows),
        url="https://doi.org/10.1016/j.neuroimage.2020.117274",
        provenance=f"{origin}; nodes: ln(1 + connected regions), ln(1 + fibers), ln of the volume in mm³, adc, dwi, "
        f"e1, e2, e3, fa, rd; edges in both directions, of each region those to the {_NUM_STRONGEST} with the most "
        f"fibers; edge_features: ln of the fibers; splits over strains equally, seed {SPLIT_SEED}",
        class_names=_STRUCTURES,
        input_units="see provenance",
        inputs=_connectomes.INPUTS,
    )


def _read_graphs(folder: Path) -> tuple[list[dict[str, NDArray[Any]]], list[str]]:
    """Return the graph and the genotype of each animal."""
    import numpy as np

    from hpc_dl.data.sources._fetch import checked

    atlas, participants = (_read_csv(checked(folder / name, digest)) for name, digest in _SHA256.items())
    labels = np.array([_STRUCTURES.index(row["Macrostructure"]) for row in atlas] * 2, np.int64)
    animals = [row["participant_id"].removeprefix("sub-") for row in participants]
    fibers = _read_lines([folder / f"edgelists/sub-{animal}_ses-1_dti.edgelist" for animal in animals], _EDGES_SHA256)
    regions = _read_lines([folder / f"features/{animal}.csv" for animal in animals], _FEATURES_SHA256)
    graphs = [
        _graph(np.loadtxt(edges), np.loadtxt(table[3:], delimiter=",")) | {"targets": labels}
        for edges, table in zip(fibers, regions, strict=True)  # a table has three header lines
    ]
    return graphs, [row["genotype"] for row in participants]


def _graph(fibers: NDArray[Any], regions: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Build the graph of one brain.

    Args:
        fibers: (pairs, 3) region, region, number of fibers; each pair once.
        regions: (1 + 332, 10) ROI, number of voxels, volume and mean diffusion metrics; ROI 0 is
            outside the brain.
    """
    import numpy as np

    adjacency = np.zeros((_NUM_REGIONS, _NUM_REGIONS))
    first, second = fibers[:, :2].astype(np.intp).T
    adjacency[first, second] = adjacency[second, first] = fibers[:, 2]
    rank = np.argsort(np.argsort(-adjacency, axis=1, kind="stable"), axis=1)
    is_strong = rank < _NUM_STRONGEST
    kept = (is_strong | is_strong.T) & (adjacency > 0)
    inside = regions[regions[:, 0] > 0]
    counts = np.log1p([(adjacency > 0).sum(1), adjacency.sum(1)])
    return {
        "nodes": np.column_stack([*counts, np.log(inside[:, 2]), inside[:, 3:]]).astype(np.float32),
        "edges": np.argwhere(kept),
        "edge_features": np.log(adjacency[kept])[:, None].astype(np.float32),
    }


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read_lines(paths: list[Path], sha256: str) -> list[list[str]]:
    """Return the lines of each file after checking the SHA-256 of their concatenation."""
    import hashlib

    from hpc_dl.errors import DataError

    try:
        contents = [path.read_bytes() for path in paths]
    except OSError as error:
        raise DataError.at(error.filename, f"cannot be read: {error.strerror}", remedy="fetch it again") from None
    if (actual := hashlib.sha256(b"".join(contents)).hexdigest()) != sha256:
        raise DataError.at(
            paths[0].parent,
            "does not contain the expected files",
            value=f"SHA-256 of their concatenation {actual}",
            allowed=sha256,
            remedy="fetch them again",
        )
    return [content.decode().splitlines() for content in contents]


SOURCE = Source(
    name="mouse_connectomes",
    title="Regions of 32 mouse brains and the fibers between them, by large structure (Wang et al., 2020)",
    task="node_classification",
    size="32 graphs of 332 nodes, 10 features of a node, 1 of an edge, 7 classes of nodes",
    license="LicenseRef-unknown AND MIT",
    shared="atlas",  # the test animals are new, but all animals have the regions of one atlas
    fetched="Python package graspologic 3.4.4, 5 MB",
    make=_make,
)
