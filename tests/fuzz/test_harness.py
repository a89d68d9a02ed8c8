"""The functions that a guided fuzzer drives, by examples and mutants, where there is no such fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.cluster.extraction import render_clip
from tests.fuzz import harness
from tests.fuzz.mutants import KINDS, make_mutant

SRT = (
    b"1\n00:00:01,000 --> 00:00:02,500\n{\\an8}Hello <i>there</i>\\h!\n\n"
    b"2\n00:00:02,000 --> 00:00:03,000\nwho?\n\n"
)
VTT = (
    b"WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n<v A>one &amp; two</v>\n\n"
    b"00:02.000 --> 00:01.000\nback\n"
)
ASS = (
    b"[Script Info]\nScriptType: v4.00+\nWrapStyle: 2\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
    b"Dialogue: 0,0:00:01.00,0:00:02.00,Default,{\\p1}m 0 0{\\p0}drawn\\Nand \\{said\\}\n"
)
SETTINGS = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@SETTINGS
@example(SRT, 0, b"")
@example(VTT, 0, b"")
@example(ASS, 0, b"")
@given(st.sampled_from((SRT, VTT, ASS, b"")), st.integers(0, 200), st.binary(max_size=60))
def test_any_bytes_give_subtitles_within_their_promises(base: bytes, at: int, put: bytes) -> None:
    at = min(at, len(base))
    harness.subtitles(base[:at] + put + base[at + len(put) // 2 :])


@SETTINGS
@example("\ud7ff{\\q2}a\\nb{\\p1")
@given(st.text(alphabet=st.sampled_from("{}\\pqnNh012<>/ib&;\u2060\u0085\x00\x1b aé"), max_size=80))
def test_any_line_gives_text_within_its_promises(line: str) -> None:
    harness.subtitles(line.encode())


@pytest.mark.parametrize(("kind", "suffix"), [("MP4", ".mp4"), ("Matroska", ".mkv"), ("TS", ".ts")])
def test_damaged_files_have_an_index_within_its_promises_or_an_error(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    clip = render_clip(tmp_path / f"clip{suffix}", seed=1, seconds=1)
    harness.index_packets(clip.read_bytes())
    for number in range(15):
        harness.index_packets(make_mutant(1, number, [clip], kind).content)
        harness.index_packets(make_mutant(2, number, [clip]).content)
    assert kind in KINDS


def test_a_broken_promise_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "plain_text", lambda line, is_ass: line)
    with pytest.raises(AssertionError):
        harness.subtitles(b"\x1b[31m")
    monkeypatch.setattr(harness, "index_source", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        harness.index_packets(b"")
