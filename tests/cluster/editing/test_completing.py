"""Tables that a command needs and that nobody extracted."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.editing.completing import complete_tables
from framemill.cluster.results import queries
from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import RecordingReporter, render_clip


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two clips of which adaptive sampling looked at a few frames, without media and frames."""
    for seed in (1, 2):
        render_clip(tmp_path / f"clip{seed}.mp4", seed=seed, seconds=6.0)
    sources = [str(tmp_path / f"clip{seed}.mp4") for seed in (1, 2)]
    output = tmp_path / "out"
    command = ["extract", *sources, "-o", str(output), "--ops", "quality", "-q"]
    assert main([*command, "--sample", "adaptive", "--budget", "7"]) == 0
    return output


def test_the_same_frames_are_looked_at(out: Path) -> None:
    dataset, reporter = Dataset.open(out, create=False), RecordingReporter()
    digests = {name: key["digest"] for name, key in dataset.state.keys.items()}
    assert complete_tables(dataset, ("media", "frames"), reporter)
    assert any("media and frames were not extracted" in said for said in reporter.said)
    assert {"media", "frames"} <= set(dataset.state.keys)
    assert {name: dataset.state.keys[name]["digest"] for name in digests} == digests
    both = (
        "SELECT count(*), count(f.frame_index) FROM quality q "
        "LEFT JOIN frames f USING (source_id, frame_index)"
    )
    wanted, found = queries.query(out, both).rows[0]
    assert wanted == found > 2
    assert not complete_tables(dataset, ("media", "frames"), reporter)


def test_commands_complete_what_they_need_unless_told_not_to(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["thumbnails", str(out), "--as-is"]) == 2
    assert "--ops frames" in capsys.readouterr().err
    assert main(["highlights", str(out), "--as-is", "-q"]) == 0
    assert main(["montage", str(out), "--seconds", "4", "-o", str(tmp_path / "a.edl"), "--as-is"]) == 2
    assert main(["montage", str(out), "--seconds", "4", "-o", str(tmp_path / "a.edl"), "-q"]) == 0
    assert main(["thumbnails", str(out), "-q"]) == 0
    tables = Dataset.open(out, create=False).state.keys
    assert {"media", "frames", "scenes", "thumbnails", "highlights"} <= set(tables)


def test_nothing_is_added_where_no_frames_were_asked_for(tmp_path: Path) -> None:
    render_clip(tmp_path / "clip.mp4", seed=1)
    out = str(tmp_path / "out")
    assert main(["extract", str(tmp_path / "clip.mp4"), "-o", out, "--ops", "audio_levels", "-q"]) == 0
    assert not complete_tables(Dataset.open(out, create=False), ("media", "frames"), RecordingReporter())
    assert main(["thumbnails", out, "-q"]) == 2
