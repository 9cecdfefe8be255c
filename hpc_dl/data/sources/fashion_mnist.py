"""Fashion-MNIST: 70,000 product photographs of 28 × 28 pixels in 10 classes.

H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms, 2017, arXiv:1708.07747 (MIT, says the Debian package's copyright file, which
calls it Expat). The authors' test set is kept; 5,000 of their 60,000 training images become the
validation split.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "dataset-fashion-mnist"  # Debian's and Ubuntu's
_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
# Of the unpacked files: Debian packs them anew, so the .gz files differ from the authors'.
_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_SPLIT_SIZES = {"train": 55_000, "val": 5_000}
_SPLIT_SEED = 0
_REMEDY = "give the .deb file or a folder with all four .gz files"


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.files.splits import stratified

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        arrays, origin = _arrays(Path(scratch), given)
    images, labels = arrays["train-images-idx3-ubyte"][:, None], arrays["train-labels-idx1-ubyte"]
    splits = {
        split: Samples(images[rows], labels[rows])
        for split, rows in stratified(labels, _SPLIT_SIZES, _SPLIT_SEED).items()
    }
    splits["test"] = Samples(arrays["t10k-images-idx3-ubyte"][:, None], arrays["t10k-labels-idx1-ubyte"])
    write(
        path,
        splits,
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://github.com/zalandoresearch/fashion-mnist",
        provenance=f"{origin}; validation split of 5,000 training images, stratified, seed {_SPLIT_SEED}",
        shared=SOURCE.shared,
        class_names=_CLASSES,
        input_units="gray level, 0 to 255",
    )


def _arrays(scratch: Path, given: Path | None) -> tuple[dict[str, NDArray[Any]], str]:
    """The four idx files as arrays, and where they came from."""
    from hpc_dl.data.sources._fetch import find_file, unpack_deb, unpacked

    if given is None:
        folder, origin = _fetched(scratch)
    else:
        folder, origin = (unpack_deb(given, scratch) if given.suffix == ".deb" else given), given.name
    arrays = {
        file: _idx(unpacked(find_file(folder, f"{file}.gz", _REMEDY), digest)) for file, digest in _SHA256.items()
    }
    return arrays, origin


def _fetched(scratch: Path) -> tuple[Path, str]:
    """A folder with the four files, and where they came from."""
    from hpc_dl.data.sources._fetch import download, fetch_deb, first_that_works, unpack_deb

    def from_authors() -> Path:
        for file in _SHA256:
            download(f"{_URL}/{file}.gz", scratch / f"{file}.gz")
        return scratch

    return first_that_works(
        SOURCE.name,
        {
            f"Debian package {_PACKAGE}": lambda: unpack_deb(fetch_deb(_PACKAGE, scratch), scratch),
            _URL: from_authors,
        },
        remedy=f"where there is a network, get the package {_PACKAGE} (`apt-get download {_PACKAGE}`) or the four .gz "
        f"files from {_URL}, then `hpc-dl data make {SOURCE.name} --from PATH`",
    )


def _idx(content: bytes) -> NDArray[Any]:
    """An array from the idx format: two zero bytes, type (8 for uint8), number of axes, their
    lengths, the values.
    """
    import numpy as np

    num_axes = content[3]
    shape = np.frombuffer(content, ">i4", num_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape)


SOURCE = Source(
    name="fashion_mnist",
    title="Photographs of clothes, shoes and bags, 28 × 28 pixels (Zalando, 2017)",
    task="classification",
    size="70,000 images of 1 × 28 × 28, 10 classes",
    license="MIT",
    shared="none",
    fetched=f"Debian package {_PACKAGE} or the authors' repository, 31 MB",
    make=_make,
)
