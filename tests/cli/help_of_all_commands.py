"""Print the help of every command and the heavy modules imported so far; run by test_start.py.

Arguments: a JSON list of module names that count as heavy. Output: a JSON mapping from command to
exit status, text and imported heavy modules.
"""

import contextlib
import io
import json
import sys

from hpc_dl.cli.main import COMMANDS, app

GROUPS = {"data": ("list", "make", "inspect", "verify", "pack", "bench"), "site": ("init", "check")}


def run(*arguments: str) -> tuple[int, str]:
    sys.argv = ["hpc-dl", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            app()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue()
    raise AssertionError("the command did not exit")


def main() -> None:
    heavy = json.loads(sys.argv[1])
    commands: list[list[str]] = [[]]
    for name in (name for commands_of_panel in COMMANDS.values() for name in commands_of_panel):
        commands += [[name], *[[name, inner] for inner in GROUPS.get(name, ())]]
    report = {}
    for command in [*[[*command, "--help"] for command in commands], ["models"]]:
        status, text = run(*command)
        imported = [name for name in heavy if name in sys.modules]
        report[" ".join(command)] = {"status": status, "text": text, "imported": imported}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
