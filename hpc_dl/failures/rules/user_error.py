"""An exception in the user's own code, with its file, line and statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpc_dl.failures.evidence import Evidence, Line
from hpc_dl.failures.rule import Advice, Finding, Order, Rule
from hpc_dl.failures.rules.connection_lost import ConnectionLost

_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):")
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+)')
_EXCEPTION = re.compile(r"^(?P<type>(?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:: (?P<message>.*))?$")
_SYNTAX = re.compile(r"^(?:SyntaxError|IndentationError|TabError): .*")
_RECORDED = re.compile(
    r"^(?P<error>(?:\w+\.)*[A-Z]\w*(?:: .*?)?)(?: \(in a data loading worker\))?, in (?P<file>\S+) line (?P<line>\d+)"
    r"(?:: `(?P<statement>.*)`)?$"
)
_LIBRARIES = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python3|/hpc_dl/|^<")
# What torch raises because of another rank, or of the network.
_CONSEQUENCE = re.compile("|".join((*ConnectionLost.patterns, r"Dist\w+Error", "NCCL", "gloo")))
_NO_ERRORS = ("KeyboardInterrupt", "SystemExit", "SIGTERMException")


class UserError(Rule):
    """What the run recorded, or a traceback at the end of a log."""

    order = Order.ERROR

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Look for an error whose innermost frame outside of libraries is the user's."""
        for line in evidence.lines("reason"):
            match = _RECORDED.search(line.text)
            if match and not _LIBRARIES.search(match["file"]) and not _CONSEQUENCE.search(match["error"]):
                yield Finding(line, match.groupdict(default=""))
        for source in ("log", "output"):
            lines = evidence.lines(source)
            for file in dict.fromkeys(line.file for line in lines):
                yield from _traceback([line for line in lines if line.file == file])

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Point at the statement."""
        groups = finding.groups
        statement = f": `{groups['statement']}`" if groups.get("statement") else ""
        cause = f"your code raised {groups['error']}, in {groups['file']} line {groups['line']}{statement}"
        return Advice(cause, "correct the code, and resume with it", overrides=("--update-code",))


def _traceback(lines: Sequence[Line]) -> Iterator[Finding]:
    """The user's frame of the last traceback, if this is how the lines end."""
    starts = [position for position, line in enumerate(lines) if _TRACEBACK.match(line.message)]
    if not starts:
        yield from _syntax_error(lines)
        return
    below = lines[starts[-1] + 1 :]
    frames = [position for position, line in enumerate(below) if _FRAME.match(line.message)]
    after = below[frames[-1] + 1 :] if frames else []
    error = next((match for line in after if (match := _EXCEPTION.match(line.message))), None)
    own = [position for position in frames if not _LIBRARIES.search(_FRAME.match(below[position].message)["file"])]  # type: ignore[index]
    if error is None or not own or error["type"].endswith(_NO_ERRORS) or _CONSEQUENCE.search(error[0]):
        return
    frame = _FRAME.match(below[own[-1]].message)
    assert frame
    follows = below[own[-1] + 1].message if own[-1] + 1 < len(below) else ""
    statement = follows.strip() if follows[:1].isspace() and not _FRAME.match(follows) else ""
    yield Finding(below[own[-1]], {"error": error[0], **frame.groupdict(), "statement": statement})


def _syntax_error(lines: Sequence[Line]) -> Iterator[Finding]:
    """A file that Python cannot read: it has no traceback if it is the first one."""
    for position, line in enumerate(lines):
        error = _SYNTAX.match(line.message)
        frames = [above for above in lines[max(0, position - 4) : position] if _FRAME.match(above.message)]
        if error and frames and (frame := _FRAME.match(frames[-1].message)) and not _LIBRARIES.search(frame["file"]):
            statement = lines[lines.index(frames[-1]) + 1].message.strip()
            yield Finding(frames[-1], {"error": error[0], **frame.groupdict(), "statement": statement})
