"""How the packed datasets lie in the file: contiguous, or in chunks that a codec makes smaller."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hpc_dl.data.files.format import About
from hpc_dl.data.packing.source import Values, need
from hpc_dl.errors import DataError

Codec = Literal["none", "gzip", "lzf", "zstd", "blosc2", "lz4"]
LayoutName = Literal["contiguous", "chunked"]

# A chunk is what is read, decoded and checked as one. Below about 64 KiB the cost of each chunk
# (its index entry, a system call, the start of a decoder) shows; above about 256 KiB it leaves the
# processor's cache while it is decoded, and more samples that lie together stay together when
# blocks of chunks are shuffled.
_CHUNK_BYTES = 128 << 10
_MAX_CHUNK_BYTES = (4 << 30) - 1  # HDF5's own limit
# Targets of a few bytes are not worth a codec, and stay contiguous: they are read whole, and
# mapped.
_SMALL_TARGET_BYTES = 64


@dataclass(frozen=True)
class Layout:
    """How the datasets of a packed file are stored.

    Attributes:
        name: ``contiguous`` (the fastest: batches come from a memory map) or ``chunked`` (smaller).
        codec: what the chunks are packed with.
    """

    name: LayoutName = "contiguous"
    codec: Codec = "none"

    def chunk_rows(self, inputs: Values) -> int:
        """Whole samples in a chunk, of inputs and targets alike: 128 KiB of inputs, or one larger
        sample.
        """
        return max(1, _CHUNK_BYTES // max(1, inputs.row_bytes))


def choose_layout(name: LayoutName | None, codec: Codec | None) -> Layout:
    """The layout that the user's words mean.

    Raises:
        DataError: contiguous data cannot be packed by a codec.
    """
    if name is None:
        name = "chunked" if codec not in (None, "none") else "contiguous"
    if name == "contiguous":
        if codec not in (None, "none"):
            raise DataError.at(
                "--codec", "packs chunks only", value=codec, remedy="say `--layout chunked`, or leave one of both out"
            )
        return Layout()
    # The fastest of the codecs to decode, and one that HDF5 can always read.
    return Layout("chunked", codec or "lz4")


def chunk_options(layout: Layout, values: Values, chunk_rows: int) -> dict[str, Any]:
    """What ``h5py.Group.create_dataset`` is told to store chunks.

    The shuffle filter (bytes of equal weight side by side) helps every codec on numbers of more
    than one byte. Flipped bits in packed data are not noticed by most codecs, so each chunk has a
    Fletcher-32 checksum.

    Raises:
        DataError: a sample is larger than a chunk may be, or the codec's package is missing.
    """
    if values.row_bytes > _MAX_CHUNK_BYTES:
        raise DataError.at(
            "--layout", f"a sample of {values.row_bytes:,} bytes is larger than a chunk may be",
            remedy="use `--layout contiguous`",
        )  # fmt: skip
    options: dict[str, Any] = {"chunks": (chunk_rows, *values.shape), "fletcher32": True}
    shuffle = values.dtype.itemsize > 1
    if layout.codec in ("gzip", "lzf"):
        return options | {"compression": layout.codec, "shuffle": shuffle}
    if layout.codec == "none":
        return options
    plugins = need("hdf5plugin", "hdf5plugin", f"codec {layout.codec}")
    if layout.codec == "zstd":
        return options | {"compression": plugins.Zstd(clevel=3), "shuffle": shuffle}
    if layout.codec == "lz4":
        # Shuffles bits by itself.
        return options | {"compression": plugins.Bitshuffle(cname="lz4")}
    filters = plugins.Blosc2.SHUFFLE if shuffle else plugins.Blosc2.NOFILTER
    return options | {"compression": plugins.Blosc2(cname="zstd", clevel=5, filters=filters)}


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes of the packed file, besides the source's samples.

    Attributes:
        fingerprint: of the source.
        about: what the file says of itself.
        inputs: shape and type of one input.
        targets: shape and type of one target.
        sizes: samples of each split.
        layout: how they are stored.
        dealt: which of the samples go to which split: shares and seed, or empty.
    """

    fingerprint: str
    about: About
    inputs: Values
    targets: Values
    sizes: dict[str, int]
    layout: Layout
    dealt: str

    @property
    def chunk_rows(self) -> int:
        """Samples in a chunk; in a split with fewer, the chunk has as many as the split."""
        return self.layout.chunk_rows(self.inputs)

    @property
    def raw_bytes(self) -> int:
        """Bytes of all samples before a codec."""
        return sum(self.sizes.values()) * (self.inputs.row_bytes + self.targets.row_bytes)

    def values(self, kind: str) -> Values:
        """Shape and type of one sample's ``inputs`` or ``targets``."""
        return self.inputs if kind == "inputs" else self.targets

    def chunks_of(self, split: str, kind: str) -> dict[str, Any] | None:
        """Chunk options of a split's ``inputs`` or ``targets``; None where they are contiguous."""
        values = self.values(kind)
        if self.layout.name == "contiguous" or (kind == "targets" and values.row_bytes <= _SMALL_TARGET_BYTES):
            return None
        return chunk_options(self.layout, values, min(self.chunk_rows, self.sizes[split]))

    def as_json(self) -> dict[str, Any]:
        """The plan in JSON's types, to compare with that of an unfinished run."""

        def told(values: Values) -> dict[str, Any]:
            return {"shape": list(values.shape), "dtype": values.dtype.str}

        return {
            "fingerprint": self.fingerprint,
            "about": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.about).items()},
            "inputs": told(self.inputs),
            "targets": told(self.targets),
            "sizes": self.sizes,
            "layout": asdict(self.layout),
            "dealt": self.dealt,
        }
