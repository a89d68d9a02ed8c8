"""The command line's frame: exit codes, streams, start-up, hostile texts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import framemill
from framemill.cluster.cli import main as main_module
from framemill.cluster.cli.main import COMMANDS, cli, main
from framemill.cluster.cli.output import (
    Invocation,
    conventions,
    duration,
    print_json,
    print_table,
    printable,
    size,
)
from framemill.errors import (
    CorruptError,
    DatasetError,
    FramemillError,
    ModelError,
    ProviderError,
    UsageError,
)

REPOSITORY = Path(__file__).resolve().parents[3]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "framemill", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


@pytest.fixture
def boom(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """Adds a command `boom` that raises what the test puts in."""
    raised: dict[str, BaseException] = {}

    @click.command()
    @conventions
    def command() -> None:
        raise raised["error"]

    monkeypatch.setitem(COMMANDS, "boom", main_module.__name__)
    monkeypatch.setattr(main_module, "boom", command, raising=False)
    return raised


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("a"), 2),
        (CorruptError("a"), 3),
        (ModelError("a"), 5),
        (ProviderError("a"), 5),
        (DatasetError("a"), 1),
        (FramemillError("a"), 1),
        (ZeroDivisionError("a"), 1),
        (click.UsageError("a"), 2),
        (click.BadParameter("a"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_end_has_its_exit_code(
    boom: dict[str, BaseException], capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    boom["error"] = error
    assert main(["boom"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err


def test_the_traceback_comes_with_vv_alone(
    boom: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    boom["error"] = ZeroDivisionError("nought")
    assert main(["boom", "-v"]) == 1
    assert "-vv shows where" in capsys.readouterr().err
    assert main(["boom", "-vv"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: nought" in err


def test_errors_cannot_steer_the_terminal(
    boom: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    boom["error"] = UsageError("file \x1b[2J\u202e.mp4 is bad")
    main(["boom"])
    assert capsys.readouterr().err == "error: file \\x1b[2J\\u202e.mp4 is bad\n"


def test_help_and_version() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
    assert not re.search(r"[a-z,]\.\.\.$", done.stdout, re.M), "a summary is too long for its line"
    assert run("--version").stdout == f"framemill {framemill.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_speaks_json(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in commands:
        assert {"--json", "-q", "-v"} <= {flag for p in each.params for flag in p.opts}, each.name
        assert all(p.help for p in each.params if isinstance(p, click.Option)), each.name


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from framemill.cluster.cli.main import main\n"
        "sys.argv = ['framemill', '--help']; main()\n"
        "heavy = {'numpy', 'pyarrow', 'av', 'cv2', 'duckdb', 'rich', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_unknown_command_and_missing_argument() -> None:
    for arguments in (["extrakt"], ["extract"], ["extract", "a.mp4"], ["sql", "out"], ["models", "pull"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed_pipe:
        done = subprocess.run(
            [sys.executable, "-m", "framemill", "--help"],
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_tables_in_a_pipe_are_whole_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    print_table(("name", "count"), [(long, 1), ("[red]\x1b[31m\nend", 22), (None, None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["name", "count"]
    assert lines[1].split("\t") == [long, "1"]
    assert lines[2].split("\t") == ["[red]\\x1b[31m\\nend", "22"]
    assert lines[3:] == ["\t"]


def test_json_is_ascii_and_holds_bytes_as_base64(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": b"\x00\xff", "t": "\x9bé", "p": Path("a"), "i": Invocation(as_json=True)})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {
        "b": "AP8=",
        "t": "\x9bé",
        "p": "a",
        "i": {"as_json": True, "verbosity": 0, "layout": ""},
    }


def test_words_for_people() -> None:
    assert [size(n) for n in (0, 999, 1000, 1.5e9, 2e15)] == ["0 B", "999 B", "1.0 kB", "1.5 GB", "2000.0 TB"]
    assert [duration(s) for s in (0, 59.94, 187, 3753)] == ["0.0 s", "59.9 s", "3:07", "1:02:33"]
    assert printable("Zoë 東京 🎬") == "Zoë 東京 🎬"
