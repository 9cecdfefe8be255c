"""Values of YAML text, and invalid text, which is reported with its line."""

import os
from pathlib import Path

import pytest

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+2", -250.0),
        (".5", 0.5),
        ("3", 3),
        ("0o17", 15),
        ("017", 17),
        ("12:30:00", "12:30:00"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ("[1, 2]", [1, 2]),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: object) -> None:
    loaded = yaml.loads(text, "text")
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 'x.yaml, line 4: duplicate key "c". Keep one of the two'),
        ("a: [1\n", "x.yaml, line 2, column 1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n  b: 2\n", "x.yaml, line 2, column 4: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "x.yaml, line 2, column 1: not valid YAML: but found another document"),
        ("a: *b\n", "x.yaml, line 1, column 4: not valid YAML: found undefined alias 'b'"),
        ("a: 2001-99-99\n", "x.yaml: not valid YAML: month must be in 1..12"),
        ("a: &b [*b]\n", "x.yaml: not valid YAML: an alias (*name) that contains itself, or too many levels"),
        ("[" * 1000, "x.yaml: not valid YAML: an alias (*name) that contains itself, or too many levels"),
    ],
)
def test_invalid_yaml_is_reported_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml.loads(text, "x.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {witness}']",
        "!!python/object/new:os.system ['touch {witness}']",
        "!!python/name:os.system",
        "!!python/object:pathlib.Path {{}}",
        "!include /etc/passwd",
    ],
)
def test_tags_that_execute_code_are_refused(tmp_path: Path, text: str) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(
        ConfigError, match=r"x\.yaml, line 1, column 4: not valid YAML: could not determine a constructor"
    ):
        yaml.loads("a: " + text.format(witness=witness), "x.yaml")
    assert not witness.exists()


def test_invalid_files(tmp_path: Path) -> None:
    binary = tmp_path / "data.h5"
    binary.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    zeros = tmp_path / "zeros.yaml"
    zeros.write_bytes(b"a: \x00\n")
    for path, message in [
        (tmp_path / "none.yaml", "does not exist"),
        (tmp_path, "is a folder. Specify the YAML file in it"),
        (binary, "is not a text file in UTF-8. Specify a YAML file"),
        (zeros, "not valid YAML: unacceptable character #x0000"),
    ]:
        with pytest.raises(ConfigError) as caught:
            yaml.load(path)
        assert str(caught.value).startswith(f"{path}: {message}")


def test_types_and_order_round_trip() -> None:
    data = {
        "time": "12:30:00",
        "no": "no",
        "digits": "007",
        "version": "1.0",
        "empty": "",
        "lr": 1e-5,
        "share": 1.0,
        "count": 1,
        "none": None,
        "flag": True,
        "list": [1, 2.0, "null", {"a": []}],
        "long": "word " * 60,
        "lines": "one\ntwo: #3\n",
        "ümlaut": "größer — 100 %",
        "date": "2001-12-14",
    }
    loaded = yaml.loads(yaml.dumps(data), "text")
    assert loaded == data
    assert list(loaded) == list(data)
    assert [type(value) for value in loaded.values()] == [type(value) for value in data.values()]


def _aliases(line: str, levels: int = 9) -> str:
    """Levels of nine aliases each, of the level before."""
    lines = [line.format(name="a0", parts="x: 1" if "<<" in line else "x")]
    lines += [line.format(name=f"a{n}", parts=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_aliases("{name}: &{name} [{parts}]"), "has too many values once its aliases (*name) are written out"),
        (
            "a0: &a0 {x: 1}\n"
            + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)),
            "has too many values once its aliases",
        ),
        ("a: &a {b: *a}", "an alias (*name) that contains itself"),
        ("a: {b: &c [1, {d: *c}]}", "an alias (*name) that contains itself"),
        ('file: "a\\0b.h5"', "contains a NUL character"),
        ("a: " + "1" * 10_000, "not valid YAML"),
        ("#" * 300_000, "is too long"),
        ("[" * 10_000, "too many levels"),
        ("? " * 10_000, "too many levels"),
    ],
    ids=["lists", "merges", "cycle", "inner cycle", "nul", "digits", "comment", "brackets", "keys"],
)
def test_text_that_would_take_forever_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml.loads(text, "x.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(100 << 30)
    for path, message in {
        tmp_path / "fifo.yaml": "is a pipe, not a file",
        tmp_path / "huge.yaml": "is too large",
        Path("/dev/zero"): "is a device, not a file",
        Path("/dev/full"): "is a device, not a file",
    }.items():
        with pytest.raises(ConfigError) as caught:
            yaml.load(path)
        assert message in str(caught.value)
