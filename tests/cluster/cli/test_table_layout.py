"""Tables fit the terminal, are whole where that is asked for, and are data in a pipe."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from framemill.cluster.cli import output
from framemill.cluster.cli.main import main
from framemill.cluster.cli.output import Invocation, print_csv, print_table
from framemill.cluster.cli.table_layout import MORE, Number, aligned, listed, short
from framemill.cluster.results.dataset import Dataset

Capture = pytest.CaptureFixture[str]
ID = "0123456789abcdef" * 2


@pytest.fixture
def terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout as a terminal of 80 columns."""
    monkeypatch.setattr(output, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


texts = st.text(st.sampled_from("ab /東é-"), max_size=40)


# Other tests that run beside it may make drawing slow, which says nothing about tables.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.text("xyz", min_size=1, max_size=25), min_size=n, max_size=n),
            st.lists(st.lists(texts, min_size=n, max_size=n), max_size=4),
        )
    ),
    st.integers(40, 200),
)
def test_no_line_is_wider_than_the_terminal(table: tuple[list[str], list[list[str]]], width: int) -> None:
    columns, rows = table
    lines, hidden = aligned(columns, rows, width)
    assert len(lines) == len(rows) + 2
    assert all(cell_len(line) <= width for line in lines), lines
    assert 0 <= hidden < len(columns)
    whole, none_hidden = aligned(columns, rows, None)
    assert none_hidden == 0
    assert all(cell.strip() in line for row, line in zip(rows, whole[2:], strict=True) for cell in row)


def test_columns_in_the_middle_are_left_out_first_and_numbers_are_never_cut() -> None:
    columns = [f"column_{n}" for n in range(12)]
    lines, hidden = aligned(columns, [[Number(10**9 + n) for n in range(12)]], 61)
    assert lines[0].split() == ["column_0", "column_1", "column_2", MORE, "column_10", "column_11"]
    assert lines[2].split() == [str(10**9 + n) for n in (0, 1, 2)] + [MORE, "1000000010", "1000000011"]
    assert hidden == 7


def test_of_a_path_the_name_stays_and_of_a_sentence_the_beginning() -> None:
    (line,), _ = aligned(["", ""], [["a/long/folder/clip.mp4", "what was said in it by whom"]], 40)
    assert line.split()[0].endswith("clip.mp4")
    lines, _ = aligned(["file", "text"], [["a/very/long/folder/clip.mp4", "what was said in it"]], 30)
    assert lines[2].startswith(MORE) and "clip.mp4  what" in lines[2] and lines[2].endswith(MORE)


def test_a_value_a_line() -> None:
    assert listed(["uri", "n"], [["a", "1"], ["b", "2"]]) == ["uri = a", "  n = 1", "", "uri = b", "  n = 2"]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_short_ids_and_paths_from_here(capsys: Capture) -> None:
    inside = os.path.join(os.getcwd(), "clips", "a.mp4")
    print_table(("id", "uri", "on", "s"), [(ID, inside, True, 1.23456789)])
    assert capsys.readouterr().out.splitlines()[2].split() == [ID[:8], "clips/a.mp4", "yes", "1.235"]


@pytest.mark.parametrize("flag", ["--wide", "--line"])
@pytest.mark.usefixtures("terminal")
def test_asked_for_whole_nothing_is_left_out(tmp_path: Path, capsys: Capture, flag: str) -> None:
    out = str(Dataset.open(tmp_path / "out", create=True).root)
    names = ", ".join(f"'{ID}' AS a_long_name_{n}" for n in range(9))
    assert main(["sql", out, f"SELECT {names}"]) == 0
    cut = capsys.readouterr().out
    assert MORE in cut and ID not in cut and "columns left out" in cut
    assert all(len(line) <= 80 for line in cut.splitlines())
    assert main(["sql", out, f"SELECT {names}", flag]) == 0
    shown = capsys.readouterr().out
    assert shown.count(ID) == 9 and MORE not in shown


def test_a_pipe_gets_whole_values_between_tabs(capsys: Capture) -> None:
    print_table(("id", "box", "on"), [(ID, {"x": 0.10000000149011612, "y": float("nan")}, False)])
    header, row = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["id", "box", "on"]
    assert row.split("\t") == [ID, '{"x": 0.1, "y": null}', "false"]


def test_csv_has_structs_as_json_and_short_numbers(capsys: Capture) -> None:
    print_csv(("a", "b", "c", "d"), [([{"x": 10.010000000000002}], 0.30000001192092896, None, b"\x00\xff")])
    _, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert json.loads(row[0]) == [{"x": 10.01}]
    assert row[1:] == ["0.3", "", "AP8="]


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_shortened_number_of_single_precision_is_the_same_number(value: float) -> None:
    assert struct.pack("f", short(value)) == struct.pack("f", value)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_shortened_number_is_right_to_twelve_digits(value: float) -> None:
    assert short(value) == pytest.approx(value, rel=1e-6 if struct_fits(value) else 1e-11, abs=1e-44)


def struct_fits(value: float) -> bool:
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False


@pytest.mark.usefixtures("terminal")
def test_lists_of_what_there_is_are_grouped_on_a_terminal(capsys: Capture) -> None:
    assert main(["ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    audio = next(line for line in lines if line.startswith("audio "))
    assert audio.split()[1:3] == ["audio_levels", "yes"]
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines.count("objects") == 1
    assert any("arcface_w600k_r50 " in line for line in lines), "names are whole: they are typed again"


def test_an_invocation_needs_no_layout() -> None:
    assert Invocation().layout == ""
