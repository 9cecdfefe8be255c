"""Output of a rank: messages on the terminal and in its log in the run folder."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from hpc_dl.errors import printable
from hpc_dl.runs.folder import RunFolder

_log = logging.getLogger("hpc_dl")

# Advice of Lightning and torch that does not apply here.
_IRRELEVANT = (
    r".*does not have many workers.*",
    r".*srun. command is available.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*treespec.*",
    r".*number of training batches .* is smaller than the logging interval.*",
    r".*GPU available but not used.*",
    r".*have overridden .on_after_batch_transfer. in both.*",
    r".*Found \d+ module\(s\) in eval mode at the start of training.*",  # frozen ones
    r".*Total length of `list` across ranks is zero.*",  # no validation split
    r".*It is recommended to use .self.log.*sync_dist=True.*",
)


def set_up_logging(run: RunFolder, rank: int) -> None:
    """Send this rank's messages to its log file, and those of rank 0 to stderr as well.

    If stderr is already redirected to the log file, each message is written once.
    """
    handlers: list[logging.Handler] = []
    log = run.log(rank)
    redirected = log.exists() and os.path.samestat(os.fstat(sys.stderr.fileno()), log.stat())
    if rank == 0 or redirected:
        handlers.append(logging.StreamHandler(sys.stderr))
    if not redirected:
        handlers.append(logging.FileHandler(log, encoding="utf-8"))
    _log.handlers = handlers
    _log.setLevel(logging.DEBUG)
    _log.propagate = False
    for handler in handlers:
        if redirected or isinstance(handler, logging.FileHandler):
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        else:
            handler.setLevel(logging.INFO)
    quiet()


def quiet() -> None:
    """Hide messages of Lightning and torch that do not apply here."""
    for name in ("pytorch_lightning", "lightning_fabric", "submitit"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _IRRELEVANT:
        warnings.filterwarnings("ignore", message=message)


def say(message: str) -> None:
    """Write one line to the terminal and the log."""
    _log.info("%s", printable(message))


def log_only(message: str) -> None:
    """Write one line to the log; on a terminal the progress bar already shows it."""
    _log.debug("%s", printable(message))


def on_terminal() -> bool:
    """Whether a person is watching, so that a progress bar makes sense."""
    return sys.stderr.isatty() and sys.stdout.isatty()
