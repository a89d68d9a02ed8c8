"""Shells complete commands, options and their values; names that are nearly right are told what is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.cli.output import COMPLETION_VARIABLE
from framemill.ops import OPS

Capture = pytest.CaptureFixture[str]
REPOSITORY = Path(__file__).resolve().parents[3]


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> list[str]:
    """What bash is told for a line up to the cursor: type and value."""
    monkeypatch.setenv(COMPLETION_VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_WORDBREAKS", " \t\n\"'><=;|&(:")
    assert main([]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("framemill du", ["plain,duplicates"]),
        ("framemill extract --opt", []),
        ("framemill extract --accept", ["plain,--accept-licence"]),
        ("framemill extract a --ops medi", ["plain,media"]),
        ("framemill extract a --ops media,scen", ["plain,media,scenes"]),
        ("framemill extract a --model objects=yolox_n", ["plain,yolox_nano"]),
        ("framemill extract --sample ev", ["open,every:"]),
        ("framemill extract --engine l", ["plain,local"]),
        ("framemill models pull arcf", ["plain,arcface_w600k_r50"]),
        ("framemill ops loud", ["plain,loudness"]),
        ("framemill completion f", ["plain,fish"]),
        ("framemill extract clips/a", ["file,clips/a"]),
    ],
)
def test_commands_options_and_values_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, line: str, values: list[str]
) -> None:
    assert completed(line, monkeypatch, capsys) == values


def test_every_operation_completes_but_those_given(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    found = completed("framemill extract a --ops ", monkeypatch, capsys)
    assert found == [f"plain,{name}" for name in OPS]
    found = completed("framemill extract a --ops frames,", monkeypatch, capsys)
    assert found == [f"plain,frames,{name}" for name in OPS if name != "frames"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(capsys: Capture, shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETION_VARIABLE}={shell}_complete" in script and "framemill" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_takes_what_it_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    command = tmp_path / "framemill"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m framemill "$@"\n')
    command.chmod(0o755)
    line = "framemill extract --model objects=yolox_n"
    asked = f'. ./script; COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _framemill_completion ./framemill; '
    done = subprocess.run(
        ["bash", "--norc", "-c", asked + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "yolox_nano\n", done.stderr


def test_completing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from framemill.cluster.cli.main import main; main([])\n"
        "heavy = {'numpy', 'pyarrow', 'av', 'cv2', 'duckdb', 'rich', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    asked = {COMPLETION_VARIABLE: "bash_complete", "COMP_WORDS": "framemill extract --model objects="}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "yolox_nano" in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["extrakt"], "no such command 'extrakt' (did you mean 'extract'?)"),
        (["models", "pul"], "pull"),
        (["extract", "a", "-o", "b", "--opps", "x"], "--ops"),
        (["ops", "sceens"], "(did you mean 'scenes'?)"),
        (["models", "pull", "yolox_nan"], "(did you mean 'yolox_nano'?)"),
    ],
)
def test_what_is_nearly_right_is_told_what_is(capsys: Capture, command: list[str], said: str) -> None:
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), "an error is one line"
    assert err.startswith("error: ") and said in err
