"""The plan of a packed file: everything that determines its bytes, apart from the samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hpc_dl.data.files.format import FileAttributes
from hpc_dl.data.packing.layout import Layout, chunk_options
from hpc_dl.data.packing.sample_groups import SampleGroups
from hpc_dl.data.packing.source import Attributes, Values
from hpc_dl.errors import DataError

# Targets of a few bytes gain nothing from a codec. They stay contiguous, so that they can be read
# at once and memory-mapped.
_SMALL_TARGET_BYTES = 64


@dataclass(frozen=True)
class Plan:
    """Everything that determines the bytes of the packed file, apart from the source's samples.

    Attributes:
        fingerprint: of the source.
        about: the attributes of the file.
        inputs: shape and type of one input.
        targets: shape and type of one target; None if there are none.
        sizes: number of samples of each split.
        layout: how the datasets are stored.
        assignment: shares and seed of a random split, or empty.
        input_attributes: what the inputs mean, for their datasets.
        groups: the group of each sample; None if the user chose none.
    """

    fingerprint: str
    about: FileAttributes
    inputs: Values
    targets: Values | None
    sizes: dict[str, int]
    layout: Layout
    assignment: str
    input_attributes: Attributes
    groups: SampleGroups | None

    def __post_init__(self) -> None:
        names = [
            self.about.class_names,
            *(value for value in self.input_attributes.values() if isinstance(value, tuple)),
        ]
        for name in (name for part in names for name in part):
            if "\0" in name:  # HDF5's strings end there
                raise DataError.at(
                    self.about.source,
                    "has a name with a null character",
                    value=name,
                    remedy="correct the text in the data",
                )

    @property
    def chunk_rows(self) -> int:
        """Samples per chunk; a split with fewer samples has one chunk of its own size."""
        return self.layout.chunk_rows(self.inputs)

    @property
    def raw_bytes(self) -> int:
        """Number of bytes of all samples, uncompressed."""
        return sum(self.sizes.values()) * sum(self.values(kind).row_bytes for kind in self.kinds)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The datasets of each split: ``inputs``, and ``targets`` if there are any."""
        return ("inputs",) if self.targets is None else ("inputs", "targets")

    def values(self, kind: str) -> Values:
        """Return shape and type of one sample's ``inputs`` or ``targets``."""
        if kind == "inputs":
            return self.inputs
        assert self.targets is not None
        return self.targets

    def chunks_of(self, split: str, kind: str) -> dict[str, Any] | None:
        """Return the chunk options of a split's ``inputs`` or ``targets``; None if contiguous."""
        values = self.values(kind)
        if self.layout.name == "contiguous" or (kind == "targets" and values.row_bytes <= _SMALL_TARGET_BYTES):
            return None
        return chunk_options(self.layout, values, min(self.chunk_rows, self.sizes[split]))

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON types, to compare it with that of an unfinished run."""

        def describe(values: Values | None) -> dict[str, Any]:
            return {"shape": list(values.shape), "dtype": values.dtype.str} if values else {}

        return {
            "fingerprint": self.fingerprint,
            "about": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.about).items()},
            "inputs": describe(self.inputs),
            "targets": describe(self.targets),
            "sizes": self.sizes,
            "layout": asdict(self.layout),
            "splits": self.assignment,
            "attributes": {key: list(v) if isinstance(v, tuple) else v for key, v in self.input_attributes.items()},
            "groups": self.groups.dataset if self.groups else "",
        }
