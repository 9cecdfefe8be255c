"""A rank that compares its resumed training with the uninterrupted one; started as a module."""

import signal

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a rank does

import torch.distributed  # noqa: E402

from hpc_dl.training.lightning.epoch_loop import Position  # noqa: E402
from tests.training.lightning.resumed_training import MIDDLE, after, fit  # noqa: E402


def main() -> None:
    # A shell that starts the tests in the background makes their processes ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    uninterrupted, saved, _ = fit(save=True)
    for position in (MIDDLE, Position(1, 6, validation_due=True)):
        rows, _, warnings = fit((position, saved[position]))
        assert warnings == [], warnings
        assert after(rows, position) == after(uninterrupted, position), position
    last = uninterrupted[1, 6]
    print("the same:", last["callback:loss_epoch"].hex(), last["callback:loss_of_all_epoch"].hex())
    torch.distributed.destroy_process_group()  # a group that still exists at the exit may abort


if __name__ == "__main__":
    main()
