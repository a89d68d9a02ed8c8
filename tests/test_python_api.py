"""The Python API: wrong calls are refused by name, value and what is allowed, and speak of no flags."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import framemill
from framemill.cluster.cli.main import main
from framemill.cluster.cli.output import as_flags
from framemill.cluster.config import keywords
from framemill.cluster.request import Amount, Count, Factor, SilentReporter, convert
from framemill.errors import UsageError
from tests.cluster.extraction import render_clip

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("actors", "cluster", "framemill", "models", "ops")
# They speak of the command line or of lines to type into a shell, or write notes that commands alone print.
ABOUT_SHELLS = (
    "cluster/cli/",
    "cluster/doctor.py",
    "cluster/gpu_checks.py",
    "cluster/editing/montage.py",
    "cluster/editing/thumbnails.py",
)


class OnlyProgress:
    def progress(self, snapshot: Any) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threads": "two"}, "threads='two' is not a whole number of 0 or more"),
        ({"threads": -1}, "threads=-1 is not a whole number of 0 or more"),
        ({"threads": True}, "threads=True is not a whole number"),
        ({"memory_bytes": "4GB"}, "memory_bytes='4GB' is not a whole number"),
        ({"deadline_factor": 0}, "deadline_factor=0 is not a number above 0"),
        ({"deadline_factor": float("nan")}, "deadline_factor=nan is not a number above 0"),
        ({"actor_cpus": float("inf")}, "actor_cpus=inf is not a number of 0 or more"),
        ({"ops": "frames"}, "ops='frames' is not a list of names"),
        ({"ops": [3]}, "ops: 3 is neither the name of an operation nor a class"),
        ({"ops": {"frames": True}}, "ops={'frames': True} is not a list of names"),
        ({"cascade": "objects"}, "cascade='objects' is not a list of names"),
        ({"sampel": "all"}, "unknown argument sampel='all'; did you mean sample?"),
        ({"zzz": 1}, "unknown argument zzz=1; there are sources, output, ops"),
        ({"actors": 3}, "actors=3 is not a text such as '4' or '1-16'"),
        ({"sample": 1}, "sample=1 is not a text"),
        ({"sample": "often"}, "`sample='often'` is not a policy; choose one of keyframes"),
        ({"options": [("frames", 1)]}, "options=[('frames', 1)] is not a mapping of operations"),
        ({"options": {"frames": 3}}, "options={'frames': 3} is not a mapping of operations"),
        ({"options": {"frames": {"image": True}}}, "frames has no option 'image'; it has: images"),
        ({"options": {"frames": {"images": "maybe"}}}, "frames.images='maybe' is not true or false"),
        ({"models": ["yolox_nano"]}, "models=['yolox_nano'] is not a mapping of roles"),
        ({"models": {"objects": 3}}, "models={'objects': 3} is not a mapping of roles"),
        ({"engine": "cloud"}, "engine='cloud' is not one of auto, local, ray"),
        (
            {"require_provider": "gpu"},
            "require_provider='gpu' is not one of tensorrt, cuda, coreml, openvino, cpu",
        ),
        ({"replace": "yes"}, "replace='yes' is not true or false"),
        ({"verbosity": 3}, "verbosity=3 is not -1, 0, 1 or 2"),
        ({"reporter": print}, "methods progress(snapshot) and message(level, text)"),
        ({"reporter": OnlyProgress()}, "methods progress(snapshot) and message(level, text)"),
        ({"reporter": SilentReporter}, "methods progress(snapshot) and message(level, text)"),
        ({"sources": 3}, "sources=3 is not a path, or a list of paths"),
        ({"sources": b"a.mp4"}, "sources=b'a.mp4' is not a path, or a list of paths"),
        ({"sources": ["a.mp4", None]}, "sources=('a.mp4', None) is not a path, or a list of paths"),
        ({"output": None}, "output=None is not a path"),
    ],
)
def test_wrong_calls_are_refused_by_name_value_and_what_is_allowed(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    asked = {"sources": tmp_path / "a.mp4", "output": tmp_path / "out", **wrong}
    with pytest.raises(UsageError) as caught:
        framemill.extract(**asked)
    assert said in str(caught.value)
    assert "--" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_and_no_query_is_refused(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1, seconds=1.0)
    with pytest.raises(UsageError, match="output=3 is not a path"):
        framemill.open(3)  # type: ignore[arg-type]
    framemill.extract(clip, tmp_path / "out", ops=["media"])
    with pytest.raises(UsageError, match="query=3 is not a text"):
        framemill.open(tmp_path / "out").sql(3)  # type: ignore[arg-type]


def test_whatever_can_be_gone_through_is_a_list(tmp_path: Path) -> None:
    render_clip(tmp_path / "clip.mp4", seed=1, seconds=1.0)
    found: Iterator[Path] = tmp_path.glob("*.mp4")
    summary = framemill.extract(
        found,  # type: ignore[arg-type]
        tmp_path / "out",
        ops=dict.fromkeys(["media", "frames"]).keys(),  # type: ignore[arg-type]
        threads=np.int64(1),
        deadline_factor=np.float32(30),
    )
    assert summary.exit_code == 0 and set(summary.rows) == {"media", "frames"}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (" 3 ", Count, 3),
        ("2.5", Factor, 2.5),
        ("0", Amount, 0.0),
        ("on", bool, True),
        (" No", bool, False),
        ("TRUE", bool, True),
        (" de ", str, " de "),
    ],
)
def test_texts_are_read_as_the_kind_of_value_that_is_wanted(text: str, kind: Any, value: Any) -> None:
    read = convert("it=", text, kind, is_text=True)
    assert (read, type(read)) == (value, type(value))
    if kind is not str:
        with pytest.raises(UsageError, match="it="):
            convert("it=", text, kind)


def test_errors_name_settings_as_each_caller_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1, seconds=1.0)
    out = tmp_path / "out"
    framemill.extract(clip, out, ops=["frames"])
    with pytest.raises(UsageError, match=r"keyframes.*all.*or `replace` to compute the table anew"):
        framemill.extract(clip, out, ops=["frames"], sample="all")
    assert main(["extract", str(clip), "-o", str(out), "--ops", "frames", "--sample", "all"]) == 2
    said = capsys.readouterr().err
    assert "or --replace to compute the table anew" in said and "`" not in said
    with pytest.raises(UsageError, match="`sample='often'` is not a policy"):
        framemill.extract(clip, out, sample="often")
    assert main(["extract", str(clip), "-o", str(out), "--sample", "often"]) == 2
    assert "--sample often is not a policy" in capsys.readouterr().err
    asked = ["extract", str(clip), "-o", str(out), "--ops", "frames", "--model", "objects=x"]
    assert main(asked) == 2
    assert "--model objects=...: no operation of this run uses that role" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("raise `deadline_factor` if it may", "raise --deadline-factor if it may"),
        ("or raise `memory_bytes`", "or raise --memory"),
        ("`stall_seconds=5.0`", "--stall-after 5.0"),
        ("run `ops=['media', 'frames']`", "run --ops media,frames"),
        ("`models={'objects': 'NAME'}`", "--model objects=NAME"),
        ("`engine='ray'` or `address`", "--engine ray or --address"),
        ("`input_size='WIDTHxHEIGHT'`", "--input-size WIDTHxHEIGHT"),
        ("see `framemill ops`; `frames` and `ops=[`", "see `framemill ops`; `frames` and `ops=[`"),
    ],
)
def test_settings_in_messages_become_flags_on_the_command_line(text: str, typed: str) -> None:
    assert as_flags(text) == typed


def library_texts() -> Iterator[tuple[str, str]]:
    """Where it stands, and each text of the libraries that is no docstring, with {} for what is filled in."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            place = path.relative_to(REPOSITORY).as_posix()
            if place.startswith(ABOUT_SHELLS):
                continue
            tree = ast.parse(path.read_text("utf-8"))
            parts = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
            }
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    constants = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
                    yield f"{place}:{node.lineno}", "".join(map(str, constants))
                elif isinstance(node, ast.Constant) and id(node) not in parts | docs:
                    yield f"{place}:{node.lineno}", str(node.value)


def test_texts_of_the_libraries_advise_no_flags_but_in_whole_commands() -> None:
    flags = {
        f"--{name.replace('_', '-')}"
        for name in [*keywords(), "max_loss", "input_size", "name", "image", "in"]
    }
    found = list(library_texts())
    assert len(found) > 2000
    for place, text in found:
        loose = re.sub(r"`(framemill|ray|pip) [^`]*`", "", text)
        assert not flags & set(re.findall(r"--[a-z][a-z-]*", loose)), (place, text)
