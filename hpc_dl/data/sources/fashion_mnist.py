"""Fashion-MNIST: 70,000 product photographs of 28 × 28 pixels in 10 classes.

H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms, 2017, arXiv:1708.07747 (MIT according to the Debian package's copyright file,
which calls it Expat). The authors' test set is kept; 5,000 of their 60,000 training images become
the validation split.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "dataset-fashion-mnist"  # in Debian and Ubuntu
_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
# Of the decompressed files: Debian's .gz files differ from the authors'.
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
_REMEDY = "specify the .deb file or a folder with all four .gz files"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, read_gzip, scratch_folder, unpack
    from hpc_dl.data.sources._splits import SPLIT_SEED, with_official_test

    with scratch_folder() as scratch:
        if given is None:
            folder, origin = _fetch(scratch)
        else:
            folder, origin = (unpack(given, scratch) if given.suffix == ".deb" else given), given.name
        train_images, train_labels, test_images, test_labels = (
            _parse_idx(read_gzip(find_file(folder, f"{name}.gz", _REMEDY), digest)) for name, digest in _SHA256.items()
        )
    images, labels = np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])
    SOURCE.write(
        path,
        with_official_test(images[:, None], labels, _SPLIT_SIZES),
        url="https://github.com/zalandoresearch/fashion-mnist",
        provenance=f"{origin}; validation split of 5,000 training images, stratified, seed {SPLIT_SEED}",
        class_names=_CLASSES,
        input_units="gray level, 0 to 255",
    )


def _fetch(scratch: Path) -> tuple[Path, str]:
    """Fetch the four files; return their folder, and where they came from."""
    from hpc_dl.data.sources._fetch import download, fetch_deb, first_success, unpack

    def from_authors() -> Path:
        for file in _SHA256:
            download(f"{_URL}/{file}.gz", scratch / f"{file}.gz")
        return scratch

    return first_success(
        SOURCE.name,
        {
            f"Debian package {_PACKAGE}": lambda: unpack(fetch_deb(_PACKAGE, scratch), scratch),
            _URL: from_authors,
        },
        remedy=f"on a machine with network access, get the package {_PACKAGE} (`apt-get download {_PACKAGE}`) or the "
        f"four .gz files from {_URL}, then `hpc-dl data make {SOURCE.name} --from PATH`",
    )


def _parse_idx(content: bytes) -> NDArray[Any]:
    """Parse the idx format: two zero bytes, type (8: uint8), number of axes, lengths, values."""
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
