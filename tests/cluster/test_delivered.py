"""What was decoded decides what `media` says, and no row ends later than its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framemill.cluster.run import planning
from framemill.errors import UsageError
from tests.actors.clips import moving, sine, write_clip, write_sound
from tests.cluster.extraction import extract, rows_of


def chained(folder: Path) -> Path:
    """Two Ogg files one behind the other: 2 s of tone and silence, 3 s of tone."""
    tones = [sine(2, 48000) * (np.arange(96000) < 48000), sine(3, 48000)]
    parts = [
        write_sound(folder / f"{n}.ogg", tone, 48000, codec="libopus").read_bytes()
        for n, tone in enumerate(tones)
    ]
    path = folder / "chained" / "both.ogg"
    path.parent.mkdir()
    path.write_bytes(b"".join(parts))
    return path


def test_a_chained_file_is_as_long_as_it_plays(tmp_path: Path) -> None:
    path, out = chained(tmp_path), tmp_path / "out"
    extract(path, out=out, ops=("media", "audio_levels"))
    (media,) = rows_of(out, "media")
    assert media["status"] == "ok" and media["duration_seconds"] == pytest.approx(5.0, abs=0.05)
    assert media["num_frames_delivered"] is None and media["num_frames_promised"] is None
    extract(path, out=out, ops=("media", "audio_levels", "silences"))
    (again,) = rows_of(out, "media")
    assert again["duration_seconds"] == media["duration_seconds"]
    assert [row["end_seconds"] for row in rows_of(out, "silences")] == pytest.approx([2.0], abs=0.11)


def test_what_is_heard_later_corrects_the_length_told_before(tmp_path: Path) -> None:
    path, out = chained(tmp_path), tmp_path / "out"
    extract(path, out=out, ops=("media",))
    (before,) = rows_of(out, "media")
    extract(path, out=out, ops=("media", "audio_levels"))
    (after,) = rows_of(out, "media")
    assert before["duration_seconds"] < 4 and after["duration_seconds"] == pytest.approx(5.0, abs=0.05)


def test_frames_are_counted_and_a_destroyed_one_makes_the_file_partial(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", moving(30), options={"g": "10"})
    content = bytearray(whole.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 400] = bytes(400)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    out = tmp_path / "out"
    summary = extract(whole, damaged, out=out, ops=("media", "frames"), sample="all")
    rows = {Path(row["uri"]).name: row for row in rows_of(out, "media")}
    counts = ("num_frames_promised", "num_frames_delivered", "num_frames_damaged")
    assert [rows["whole.mp4"][name] for name in counts] == [30, 30, 0]
    assert rows["damaged.mp4"]["status"] == "partial" and summary.exit_code == 3
    promised, delivered, lost = (rows["damaged.mp4"][name] for name in counts)
    assert promised == 30 and lost > 0 and delivered <= 30


def test_a_folder_decoded_by_earlier_rules_is_refused_with_the_way_to_recompute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_clip(tmp_path / "a.mp4", moving(5)), tmp_path / "out"
    with monkeypatch.context() as earlier:
        earlier.setattr(planning, "DECODE_VERSION", 2)
        extract(path, out=out, ops=("frames",))
    with pytest.raises(UsageError, match=r"version of the decode rules 2 there and 3 here.*`replace`"):
        extract(path, out=out, ops=("frames",))
    assert extract(path, out=out, ops=("frames",), replace=True).rows == {"frames": 1}
