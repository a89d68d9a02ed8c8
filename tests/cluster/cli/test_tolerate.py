"""How many failures leave the exit code at 0: a number, a share, or all; and time that was spent waiting."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import click
import pytest

from framemill.cluster.cli.extract import extract as extract_command
from framemill.cluster.cli.main import main
from framemill.cluster.config import read_settings
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.cluster.extraction import RecordingReporter, extract, rows_of


def request(**changes: Any) -> ExtractRequest:
    return ExtractRequest(sources=("a",), output="b", **changes)


@pytest.mark.parametrize(
    ("tolerance", "num_failed", "num_files", "is_well"),
    [
        ("", 0, 10, True),
        ("", 1, 10, False),
        ("0", 1, 10, False),
        ("2", 2, 10, True),
        ("2", 3, 1_000_000, False),
        ("10%", 1, 10, True),
        ("10%", 2, 10, False),
        ("0.1%", 1_000, 1_000_000, True),
        ("0.1%", 1_001, 1_000_000, False),
        ("all", 10, 10, True),
    ],
)
def test_a_number_or_a_share_is_tolerated(
    tolerance: str, num_failed: int, num_files: int, is_well: bool
) -> None:
    assert request(tolerate_failures=tolerance).tolerates(num_failed, num_files) is is_well


def parsed(*words: str) -> dict[str, Any]:
    return dict(extract_command.make_context("extract", [*words, "-o", "out"]).params)


@pytest.mark.parametrize(
    ("words", "value", "sources"),
    [
        (("--tolerate-failures", "clips/"), "all", ("clips/",)),
        (("clips/", "--tolerate-failures"), "all", ("clips/",)),
        (("--tolerate-failures", "--images", "clips/"), "all", ("clips/",)),
        (("--tolerate-failures", "10", "clips/"), "10", ("clips/",)),
        (("--tolerate-failures", "2.5%", "clips/"), "2.5%", ("clips/",)),
        (("--tolerate-failures=2%", "clips/"), "2%", ("clips/",)),
        (("clips/", "more/"), None, ("clips/", "more/")),
    ],
)
def test_what_comes_after_the_flag_is_its_value_only_where_it_looks_like_one(
    words: tuple[str, ...], value: str | None, sources: tuple[str, ...]
) -> None:
    params = parsed(*words)
    assert (params["tolerate_failures"], params["sources"]) == (value, sources)


def test_a_source_behind_two_dashes_may_be_called_as_the_flag() -> None:
    context = extract_command.make_context("extract", ["-o", "out", "--", "--tolerate-failures"])
    assert context.params["sources"] == ("--tolerate-failures",)
    assert isinstance(context, click.Context)


@pytest.mark.parametrize(
    ("given", "kept"), [("true", '"all"'), ("3", '"3"'), ('"5%"', '"5%"'), ("false", '""')]
)
def test_a_file_may_set_it(tmp_path: Path, given: str, kept: str) -> None:
    path = tmp_path / "framemill.toml"
    path.write_text(f"tolerate_failures = {given}\n")
    assert read_settings({}, {}, path) == {"tolerate_failures": kept.strip('"')}
    assert read_settings({}, {"FRAMEMILL_TOLERATE_FAILURES": "7"}, path) == {"tolerate_failures": "7"}


@pytest.mark.parametrize("wrong", ["some", "-1", "5 %", "1e3", "%"])
def test_other_values_are_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match="is no number of files, such as 10"):
        read_settings({}, {"FRAMEMILL_TOLERATE_FAILURES": wrong}, None)


def test_the_exit_code_of_a_run_with_failures(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(clips, videos)
    (videos / "bad.mp4").write_bytes(b"nothing that anybody could play" * 200)
    line = ["extract", str(videos), "-o", str(out), "--ops", "media"]
    assert main([*line, "--tolerate-failures"]) == 0
    assert "1 file failed or partial: tolerated" in capsys.readouterr().out
    assert [row["exit_code"] for row in rows_of(out, "runs")] == [0]
    assert main(line) == 3, "what is known from an earlier run counts"
    for tolerance, code in (("1", 0), ("25%", 0), ("24%", 3), ("0", 3)):
        assert main([*line, "--tolerate-failures", tolerance]) == code
    alone = ["extract", str(videos / "bad.mp4"), "-o", str(tmp_path / "other"), "--ops", "media"]
    assert main([*alone, "--tolerate-failures"]) == 4, "where nothing is usable"


def test_waiting_for_another_run_is_no_work_of_this_one(clips: Path, tmp_path: Path) -> None:
    out, waited = tmp_path / "out", 2.0
    extract(clips, out=out, ops=("media",))
    held, said = threading.Event(), RecordingReporter()

    def hold() -> None:
        with Dataset.open(out, create=False).hold("other"):
            held.set()
            time.sleep(waited)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)
    started = time.monotonic()
    summary = extract(clips, out=out, ops=("media",), reporter=said)
    took = time.monotonic() - started
    other.join()
    assert any("waits for run other" in text for text in said.said)
    assert summary.elapsed_seconds < took - 0.7 * waited
