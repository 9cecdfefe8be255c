"""The random schedule of faults, determined by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks.soak.faults import FAULTS, MOMENTS, PlannedFault
from benchmarks.soak.runs import CONFIGURATIONS, has_several_ranks

COLD_SHARE = 0.1  # of attempts that are started as new programs


def schedule(seed: int) -> Iterator[tuple[str, list[PlannedFault]]]:
    """Yield, without end, a configuration and the faults of its next run.

    Every kind of fault comes equally often.
    """
    generator = random.Random(seed)
    pending: list[str] = []
    order = list(CONFIGURATIONS)
    while True:
        generator.shuffle(order)
        for configuration in order:
            chosen: list[str] = []
            count = generator.randint(2, 6)
            while len(chosen) < count:
                suitable = next((kind for kind in pending if _suits(kind, configuration)), None)
                if suitable is None:
                    pending += generator.sample(list(FAULTS), len(FAULTS))
                else:
                    pending.remove(suitable)
                    chosen.append(suitable)
            faults = [_plan(kind, generator) for kind in chosen]
            # A fault in the test comes last: no step follows that another one could hit.
            yield configuration, sorted(faults, key=lambda fault: fault.moment == "test")


def _suits(kind: str, configuration: str) -> bool:
    return has_several_ranks(configuration) or not FAULTS[kind].needs_ranks


def _plan(kind: str, generator: random.Random) -> PlannedFault:
    moment = generator.choice(FAULTS[kind].moments or MOMENTS)
    return PlannedFault(
        kind,
        moment,
        where=generator.random(),
        delay_s=generator.choice([0.0, generator.uniform(0, 0.01), generator.uniform(0, 0.05)]),
        target=generator.random(),
        second_s=generator.random(),
        cold=generator.random() < COLD_SHARE,
    )
