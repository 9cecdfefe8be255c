"""Experiments as YAML, damaged or hostile; parsing ends in an experiment or in lines, at once."""

from __future__ import annotations

import random
from pathlib import Path

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import HpcDlError
from tests.conftest import PROJECT
from tests.fuzz.mutations import mutated

_HOSTILE = (
    "*a", "&a [*a, *a]", "<<: *a", "!!python/object/apply:os.system [id]", "!!binary x", "!!set {a}", "!!omap [a: 1]",
    "'\\0'", '"\\0"', '"\\ud800"', "~nobody/x.h5", "/dev/zero", "1e400", "-.inf", ".nan", "0x" + "f" * 5000,
    "9" * 5000,
    "2001-99-99", "[" * 300, "{a: " * 300, "? a", "- - - -", "|\n  x", "%YAML 9.9", "---", "...", "@", "`", "\t",
    "\x1b[31m", "null", "[]", "{}", "''", "true", "a.b.C", "12:30:00", "\ufeff", "\u2028", "1_000", "=",
    "!<tag:x> y", "!!float a",
)  # fmt: skip


def make_bases(folder: Path) -> list[str]:
    """Return the shipped experiments."""
    return [path.read_text(encoding="utf-8") for path in sorted((PROJECT / "configs").glob("*.yaml"))]


def check_case(case: int, seed: int, bases: list[str], folder: Path) -> tuple[str, str]:
    """Damage an experiment by bytes, by lines or by values, then load it."""
    chance = random.Random(f"{seed}-{case}")
    text = chance.choice(bases)
    path = folder / f"{case}.yaml"
    way = case % 4
    if way == 0:
        path.write_bytes(mutated(text.encode(), chance))
    elif way == 1:
        path.write_text(_with_lines_moved(text, chance), encoding="utf-8")
    elif way == 2:
        path.write_text(_with_value_replaced(text, chance), encoding="utf-8", errors="surrogatepass")
    else:
        path.write_text(_with_aliases(text, chance), encoding="utf-8")
    try:
        experiment = Experiment.load(path)
        Experiment.from_dict(yaml.loads(yaml.dumps(experiment.to_dict()), "again"))
    except HpcDlError as error:
        for fault in error.faults:
            assert "\n" not in str(fault), "a message of several lines"
            assert str(fault).isprintable(), "a message with control characters"
        return "refused", str(error.faults[0])
    finally:
        path.unlink()
    return "fine", ""


def _with_lines_moved(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.choice((1, 2, 5))):
        line = lines.pop(chance.randrange(len(lines)))
        for _ in range(chance.choice((0, 1, 2))):
            lines.insert(chance.randrange(len(lines) + 1), " " * chance.choice((0, 2, 4)) + line.strip())
    return "\n".join(lines)


def _with_value_replaced(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    candidates = [number for number, line in enumerate(lines) if ": " in line]
    for _ in range(chance.choice((1, 1, 2))):
        number = chance.choice(candidates)
        lines[number] = f"{lines[number].partition(': ')[0]}: {chance.choice(_HOSTILE)}"
    return "\n".join(lines)


def _with_aliases(text: str, chance: random.Random) -> str:
    levels, width = chance.choice((2, 5, 9, 20, 100)), chance.choice((2, 9, 50))
    form = chance.choice(("[{}]", "{{k: {}}}", "{{<<: [{}]}}"))
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        parts = [f"*a{level - 1}"] * width
        lines.append(
            f"a{level}: &a{level} " + form.format(", k2: ".join(parts[:1]) if "k:" in form else ", ".join(parts))
        )
    return "\n".join([*lines, text])
