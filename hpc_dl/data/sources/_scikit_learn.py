"""Tables from scikit-learn 1.9.1, shipped as ``NAME.csv.gz`` in this folder (BSD 3-clause license).

Copyright (c) 2007-2026 The scikit-learn developers. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:
* Redistributions of source code must retain the above copyright notice, this list of conditions and
  the following disclaimer.
* Redistributions in binary form must reproduce the above copyright notice, this list of conditions
  and the following disclaimer in the documentation and/or other materials provided with the
  distribution.
* Neither the name of the copyright holder nor the names of its contributors may be used to endorse
  or promote products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.sources._fetch import read_gzip


def read_csv(name: str, sha256: str, given: Path | None) -> tuple[NDArray[Any], str]:
    """Read a table of numbers with the target in its last column.

    Args:
        name: of the file, without suffix.
        sha256: of the decompressed text.
        given: a file to read instead of the one that ships with hpc_dl.

    Returns:
        The table (N, F + 1), float64, and where it came from.

    Raises:
        DataError: the file is damaged, or not the expected one.
    """
    file = f"{name}.csv.gz"
    lines = read_gzip(given or Path(__file__).with_name(file), sha256).decode().splitlines()
    header = lines[0].startswith(f"{len(lines) - 1},")  # number of rows and features, names of the classes
    table = np.loadtxt(lines[header:], delimiter=",")
    return table, f"{file} of scikit-learn 1.9.1 (SHA-256 {sha256} unpacked)"
