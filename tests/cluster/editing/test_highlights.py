"""Highlights: what tables say of each stretch, and what is written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.made_corpus import make_corpus
from framemill.cluster.cli.main import main
from framemill.cluster.editing import highlights
from framemill.cluster.editing.highlights import HIGHLIGHTS_SCHEMA, find_highlights
from framemill.cluster.results import queries
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.actors.clips import moving, write_clip
from tests.cluster.extraction import render_clip


@pytest.fixture
def corpus(tmp_path: Path) -> Dataset:
    return make_corpus(tmp_path, 6, 60)


def test_segments_do_not_overlap_and_lie_on_shots(corpus: Dataset) -> None:
    with corpus.hold("h"):
        report = find_highlights(corpus, "h")
    rows = report.rows
    assert rows.schema.equals(HIGHLIGHTS_SCHEMA) and report.num_files == 6 and report.changed
    for source in set(rows["source_id"].to_pylist()):
        own = sorted(
            (row for row in rows.to_pylist() if row["source_id"] == source),
            key=lambda row: row["start_seconds"],
        )
        assert sorted(row["rank"] for row in own) == list(range(len(own)))
        assert all(a["end_seconds"] <= b["start_seconds"] for a, b in itertools.pairwise(own))
        assert all(row["start_seconds"] % 5 == 0 and row["end_seconds"] % 5 == 0 for row in own)
        assert all(row["reasons"] for row in own)


def test_groups_of_sources_give_the_same_rows(corpus: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with corpus.hold("h"):
        whole = find_highlights(corpus, "h").rows
        monkeypatch.setattr(highlights, "GROUP_SECONDS", 100.0)
        assert (
            len(list(highlights._groups(corpus, {o for t, o in corpus.state.entries if t == "frames"}))) > 2
        )
        assert find_highlights(corpus, "h").rows.equals(whole)


def test_files_that_lack_rows_of_some_tables_are_judged_by_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file whose picture was extracted alone, two whose sound was: no table speaks of all three."""
    out = str(tmp_path / "out")
    asked = {"shots": "frames", "one": "audio_levels", "two": "audio_levels"}
    for number, (name, operation) in enumerate(asked.items()):
        clip = render_clip(tmp_path / f"{name}.mp4", seed=number, seconds=9.0)
        assert main(["extract", str(clip), "-o", out, "--ops", operation, "--sample", "every:1", "-q"]) == 0
    capsys.readouterr()
    assert main(["highlights", out, "--as-is", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = {Path(told["uri"]).stem for told in (*found["rows"], *found["shortfalls"])}
    assert told == set(asked)
    assert "shots" in {Path(row["uri"]).stem for row in found["rows"]}
    assert main(["highlights", out, "--as-is"]) == 0
    assert "(up to date)" in capsys.readouterr().err


def test_speech_makes_a_highlight_and_its_reason(corpus: Dataset) -> None:
    with corpus.hold("h"):
        find_highlights(corpus, "h", count=2)
    spoken = queries.query(
        corpus.root,
        """SELECT count(*) FILTER (list_contains(h.reasons, 'speech') OR
        list_contains(h.reasons, 'much speech')), count(*)
        FROM highlights h JOIN speech s USING (source_id)
        WHERE s.start_seconds >= h.start_seconds AND s.end_seconds <= h.end_seconds""",
    ).rows[0]
    assert spoken[0] == spoken[1] > 0


def test_wrong_arguments_are_refused(corpus: Dataset) -> None:
    with corpus.hold("h"):
        with pytest.raises(UsageError, match="1 to 1000"):
            find_highlights(corpus, "h", count=0)
        with pytest.raises(UsageError, match=r"0\.5 or more"):
            find_highlights(corpus, "h", least_seconds=9, most_seconds=3)


def test_nothing_to_judge_by_names_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.open(tmp_path / "out", create=True)
    assert main(["highlights", str(tmp_path / "out")]) == 2
    assert "framemill extract" in capsys.readouterr().err


def test_bad_input_gets_fewer_and_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "black.mp4", [np.zeros((64, 96, 3), np.uint8)] * 50)
    write_clip(folder / "short.mp4", moving(25))
    write_clip(folder / "endless.mp4", moving(400))
    render_clip(folder / "sound.mp4", seed=2, seconds=8.0, with_picture=False)
    out = str(tmp_path / "out")
    assert main(["extract", str(folder), "-o", out, "--sample", "every:0.5", "-q"]) == 0
    capsys.readouterr()
    assert main(["highlights", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    spans = {}
    for row in found["rows"]:
        spans.setdefault(Path(row["uri"]).name, []).append((row["start_seconds"], row["end_seconds"]))
    assert spans["short.mp4"] == [(0.0, pytest.approx(1.0, abs=0.05))]
    assert spans["endless.mp4"] and "black.mp4" not in spans
    told = {case["reason"].split(":")[0]: case for case in found["shortfalls"]}
    assert Path(told["nothing happens in it"]["uri"]).name == "black.mp4"
    assert told["it is too short for more"]["num_files"] >= 1
    assert main(["highlights", out, "--limit", "1"]) == 0
    shown = capsys.readouterr()
    assert "(up to date)" in shown.err and "nothing happens in it" in shown.err
