"""Caches of other programs that fill the quota of $HOME."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpc_dl.cluster.disk import CACHES
from hpc_dl.cluster.doctor.check import Check, Finding, Situation


class Caches(Check):
    """Which existing caches are in $HOME although there is scratch space."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one that names all of them."""
        storage = situation.facts.storage if situation.facts else []
        scratch = next((each.name for each in storage if each.shared and each.writable and each.name != "$HOME"), None)
        if scratch is None:
            return
        home = Path.home()
        in_home = [
            name
            for name, default in CACHES.items()
            if (path := Path(os.environ.get(name, default)).expanduser()).is_relative_to(home) and path.is_dir()
        ]
        if in_home:
            settings = " ".join(f"{name}={scratch}/cache/{name.lower()}" for name in in_home)
            why = "They grow without a limit, and jobs fail when the quota of $HOME is full"
            what = f"caches are in your home folder: {', '.join(in_home)}"
            yield Finding(what, why, f"write into ~/.bashrc: export {settings}", fatal=False)
