"""The storage layout of packed datasets: contiguous, or in chunks that a codec compresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hpc_dl.data.packing.source import Values, require
from hpc_dl.errors import DataError

Codec = Literal["none", "gzip", "lzf", "zstd", "blosc2", "lz4"]
LayoutName = Literal["contiguous", "chunked"]

# A chunk is read, decoded and checked as a whole. Below about 64 KiB the overhead per chunk
# dominates (index entry, system call, start of the decoder). Above about 256 KiB a chunk exceeds
# the processor's cache while it is decoded, and when blocks of chunks are shuffled, more samples
# stay next to each other.
_CHUNK_BYTES = 128 << 10
_MAX_CHUNK_BYTES = (4 << 30) - 1  # HDF5's limit


@dataclass(frozen=True)
class Layout:
    """How the datasets of a packed file are stored.

    Attributes:
        name: ``contiguous`` (the fastest: batches come from a memory map) or ``chunked`` (smaller).
        codec: how the chunks are compressed.
    """

    name: LayoutName = "contiguous"
    codec: Codec = "none"

    def chunk_rows(self, inputs: Values) -> int:
        """Return the samples per chunk: 128 KiB of inputs, or one sample if it is larger."""
        return max(1, _CHUNK_BYTES // max(1, inputs.row_bytes))


def choose_layout(name: LayoutName | None, codec: Codec | None) -> Layout:
    """Return the layout for the command-line options.

    Raises:
        DataError: a codec was chosen for the contiguous layout.
    """
    if name is None:
        name = "chunked" if codec not in (None, "none") else "contiguous"
    if name == "contiguous":
        if codec not in (None, "none"):
            raise DataError.at(
                "--codec", "needs chunks", value=codec, remedy="use `--layout chunked`, or omit one of the two options"
            )
        return Layout()
    # LZ4 decodes the fastest of these codecs.
    return Layout("chunked", codec or "lz4")


def chunk_options(layout: Layout, values: Values, chunk_rows: int) -> dict[str, Any]:
    """Return the arguments of ``h5py.Group.create_dataset`` for chunks.

    The shuffle filter, which groups bytes of equal significance, helps every codec if values have
    more than one byte. Most codecs do not detect flipped bits in compressed data, so each chunk
    gets a Fletcher-32 checksum.

    Raises:
        DataError: a sample exceeds the maximum size of a chunk, or the codec is not installed.
    """
    if values.row_bytes > _MAX_CHUNK_BYTES:
        raise DataError.at(
            "--layout",
            f"cannot be chunked: a sample has {values.row_bytes:,} bytes",
            allowed=f"up to {_MAX_CHUNK_BYTES:,} bytes per chunk",
            remedy="use `--layout contiguous`",
        )
    options: dict[str, Any] = {"chunks": (chunk_rows, *values.shape), "fletcher32": True}
    shuffle = values.dtype.itemsize > 1
    if layout.codec in ("gzip", "lzf"):
        return options | {"compression": layout.codec, "shuffle": shuffle}
    if layout.codec == "none":
        return options
    plugins = require("hdf5plugin", "hdf5plugin", f"codec {layout.codec}")
    if layout.codec == "zstd":
        return options | {"compression": plugins.Zstd(clevel=3), "shuffle": shuffle}
    if layout.codec == "lz4":  # Bitshuffle shuffles by itself
        return options | {"compression": plugins.Bitshuffle(cname="lz4")}
    filters = plugins.Blosc2.SHUFFLE if shuffle else plugins.Blosc2.NOFILTER
    return options | {"compression": plugins.Blosc2(cname="zstd", clevel=5, filters=filters)}
