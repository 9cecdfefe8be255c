"""``Source.write`` passes all options of ``format.write`` on."""

import inspect

from hpc_dl.data.files.format import write
from hpc_dl.data.sources import Source


def test_source_offers_the_options_of_the_writer() -> None:
    facts = {"source", "task", "license", "description", "shared"}  # of the source itself
    offered = inspect.signature(Source.write).parameters
    for name, parameter in inspect.signature(write).parameters.items():
        if name not in facts:
            assert name in offered
            # Every data set says how it was made.
            assert offered[name].default == (inspect.Parameter.empty if name == "provenance" else parameter.default)
