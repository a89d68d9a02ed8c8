"""Clips from plan to training set: what is written, what stays, what is refused."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from framemill.actors.indexing import index_source
from framemill.cluster.clips import packing
from framemill.cluster.clips.intervals import Rules
from framemill.cluster.clips.making import ClipsReport, ClipsRequest, make_clips
from framemill.cluster.clips.selection import Selection
from framemill.cluster.results.dataset import Dataset
from framemill.errors import DatasetError, UsageError
from tests.actors.reading import read
from tests.cluster.extraction import PROJECT

ONE_SECOND = Selection(rules=Rules(0.5, 1.0))


def make(results: Path, folder: Path, **asked: Any) -> ClipsReport:
    request = ClipsRequest(str(folder), **{"selection": ONE_SECOND, "workers": 2, **asked})
    return make_clips(Dataset.open(results, create=False), request)


def files(folder: Path) -> dict[str, bytes]:
    """What a person sees there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".framemill" not in path.parts
    }


def test_a_folder_of_clips_and_a_table_of_them(results: Path, tmp_path: Path) -> None:
    made = make(results, tmp_path / "clips")
    rows = pq.read_table(tmp_path / "clips" / "clips.parquet").to_pylist()
    assert rows == made.rows.to_pylist() and made.num_clips == len(rows) == 12
    for row in rows:
        path = Path(row["path"])
        data = path.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["num_bytes"], row["sha256"])
        index = index_source(str(path))
        assert len(index.frames) == row["num_frames"] == row["end_frame"] - row["start_frame"]
        assert (index.audio_stream >= 0) == (not path.name.startswith("c-"))
    seen = set(files(tmp_path / "clips"))
    assert seen == {Path(row["path"]).name for row in rows} | {"clips.parquet"}
    bounds = [(row["source_id"], row["start_frame"], row["end_frame"]) for row in rows]
    for (source, _, end), (other, start, _) in itertools.pairwise(bounds):
        assert source != other or end == start  # no frame is left out or doubled


def test_the_same_command_makes_nothing_anew_and_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first = make(results, tmp_path / "clips")
    before = {name: (tmp_path / "clips" / name).stat().st_mtime_ns for name in files(tmp_path / "clips")}
    again = make(results, tmp_path / "clips")
    assert again.num_reused == first.num_clips and again.rows.equals(first.rows)
    after = {name: (tmp_path / "clips" / name).stat().st_mtime_ns for name in files(tmp_path / "clips")}
    assert {name for name in before if before[name] != after[name]} == {"clips.parquet"}
    make(results, tmp_path / "other", workers=1)
    mine, other = files(tmp_path / "clips"), files(tmp_path / "other")
    del mine["clips.parquet"], other["clips.parquet"]
    assert mine == other


def test_clips_that_a_new_plan_has_no_more_are_removed(results: Path, tmp_path: Path) -> None:
    first = make(results, tmp_path / "clips")
    selection = Selection(rules=Rules(0.5, 1.0, max_per_source=1))
    made = make(results, tmp_path / "clips", selection=selection)
    assert made.num_clips == made.num_reused == 3 and made.dropped == {
        "more than 1 of a source": first.num_clips - 3
    }
    kept = {Path(row["path"]).name for row in made.rows.to_pylist() if row["kept"]}
    assert set(files(tmp_path / "clips")) == kept | {"clips.parquet"}


def test_a_clip_that_was_changed_or_lost_is_made_again(results: Path, tmp_path: Path) -> None:
    make(results, tmp_path / "clips")
    before = files(tmp_path / "clips")
    names = [name for name in before if name.endswith(".mp4")]
    (tmp_path / "clips" / names[0]).unlink()
    (tmp_path / "clips" / names[1]).write_bytes(b"half")
    made = make(results, tmp_path / "clips")
    assert made.num_reused == len(names) - 2 and files(tmp_path / "clips") == before


def test_shards_hold_each_clip_once_and_within_their_size(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(results, tmp_path / "plain")
    size = 3 * max(row["num_bytes"] for row in folder.rows.to_pylist())
    monkeypatch.setattr(packing.Shards.__init__, "__defaults__", (size,))
    made = make(results, tmp_path / "clips", form="webdataset")
    shards = sorted((tmp_path / "clips").glob("*.tar"))
    assert [path.name for path in shards] == [f"{n:06}.tar" for n in range(len(shards))] and len(shards) > 2
    assert all(path.stat().st_size <= size + tarfile.RECORDSIZE for path in shards)
    members: list[str] = []
    for path in shards:
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                members.append(member.name)
                data = tar.extractfile(member)
                assert data is not None
                if member.name.endswith(".json"):
                    facts = json.loads(data.read())
                    assert facts["num_bytes"] and facts["uri"].endswith((".mp4", ".mkv"))
                else:
                    row = next(r for r in made.rows.to_pylist() if r["member"] == member.name)
                    assert hashlib.sha256(data.read()).hexdigest() == row["sha256"] and row["path"] == str(
                        path
                    )
    assert len(members) == len(set(members)) == 2 * made.num_clips
    assert not list((tmp_path / "clips" / ".framemill").rglob("*.mp4"))
    before = files(tmp_path / "clips")
    assert make(results, tmp_path / "clips", form="webdataset").num_reused == made.num_clips
    assert files(tmp_path / "clips") == before


def test_webdataset_reads_the_shards(results: Path, tmp_path: Path) -> None:
    import webdataset

    made = make(results, tmp_path / "clips", form="webdataset")
    samples = list(webdataset.WebDataset(str(tmp_path / "clips" / "000000.tar"), shardshuffle=False))
    assert len(samples) == made.num_clips and {"__key__", "mp4", "json"} <= set(samples[0])
    source = json.loads(samples[0]["json"])
    path = tmp_path / "first.mp4"
    path.write_bytes(samples[0]["mp4"])
    mine = read(path, index_source(str(path)), signals=[0]).signals[0][0].astype(int)
    theirs = read(source["uri"], index_source(source["uri"]), signals=[source["start_frame"]])
    assert abs(mine - theirs.signals[source["start_frame"]][0]).mean() < 3


def test_shards_are_never_changed_so_another_plan_needs_another_folder(results: Path, tmp_path: Path) -> None:
    make(results, tmp_path / "clips", form="webdataset")
    with pytest.raises(UsageError, match="name a new folder"):
        make(results, tmp_path / "clips", form="webdataset", size=(32, 32))
    with pytest.raises(UsageError, match="holds clips as webdataset"):
        make(results, tmp_path / "clips")


def test_hugging_face_loads_the_set_with_videos_and_what_is_known(results: Path, tmp_path: Path) -> None:
    import datasets

    made = make(results, tmp_path / "clips", form="hf")
    loaded = datasets.load_dataset(str(tmp_path / "clips"), cache_dir=str(tmp_path / "cache"), split="train")
    assert isinstance(loaded.features["video"], datasets.Video) and len(loaded) == made.num_clips
    rows = loaded.cast_column("video", datasets.Video(decode=False))
    known = {(row["source_id"], row["clip_index"]): row for row in made.rows.to_pylist()}
    for row in rows:
        mine = known[row["source_id"], row["clip_index"]]
        assert row["num_frames"] == mine["num_frames"] and row["sha256"] == mine["sha256"]
        assert Path(row["video"]["path"]).name == Path(mine["path"]).name


def test_a_plan_that_keeps_nothing_gives_an_empty_set(results: Path, tmp_path: Path) -> None:
    for form in ("folder", "webdataset", "hf"):
        selection = Selection(where="duration_seconds > 100")
        made = make(results, tmp_path / form, form=form, selection=selection)
        assert made.num_clips == 0 and made.dropped == {"where": 7}
        assert pq.read_table(tmp_path / form / "clips.parquet").num_rows == 7
        assert not list((tmp_path / form).rglob("*.mp4")) and not list((tmp_path / form).glob("*.tar"))


def test_a_source_that_is_gone_or_broken_costs_its_own_clips(tmp_path: Path, clips: Path) -> None:
    from tests.cluster.extraction import extract

    for name in ("a.mp4", "b.mp4", "c.mkv"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    out = tmp_path / "again"
    extract(*(tmp_path / name for name in ("a.mp4", "b.mp4", "c.mkv")), out=out)
    (tmp_path / "a.mp4").unlink()
    (tmp_path / "b.mp4").write_bytes(b"\0" * (tmp_path / "b.mp4").stat().st_size)
    made = make(out, tmp_path / "clips")
    assert {Path(uri).name for uri in made.problems} == {"a.mp4", "b.mp4"}
    assert made.num_clips > 0 and made.num_sources == 1
    assert made.dropped == {"cannot be cut": len(made.rows) - made.num_clips}
    assert all(
        row["reason"].startswith("cannot be cut: ") for row in made.rows.to_pylist() if not row["kept"]
    )


def test_a_folder_of_something_else_is_refused(results: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("full", "file"):
        with pytest.raises(UsageError, match=r"name a (new )?folder"):
            make(results, tmp_path / name)


def test_a_disk_that_is_full_ends_the_run_and_leaves_no_half_clip(results: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from framemill.cluster.clips.cutting import cut_source\n"
        "from framemill.cluster.clips import cutting\n"
        "def small(*task):\n"
        "    import signal\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "    return cut_source(*task)\n"
    )
    (tmp_path / "smaller.py").write_text(code)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import smaller\n"
        "from framemill.cluster.clips import cutting\n"
        "cutting.cut_source = smaller.small\n"
        "from framemill.cluster.cli.main import main\n"
        "if __name__ == '__main__': sys.exit(main(sys.argv[2:]))\n"
    )
    (tmp_path / "run.py").write_text(script)
    line = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), "clips", str(results), "-o"]
    done = subprocess.run(
        [*line, str(tmp_path / "clips"), "--reencode"], cwd=PROJECT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert done.returncode == DatasetError.exit_code and "cannot be written" in done.stderr
    assert not list((tmp_path / "clips").rglob("*.mp4"))
    assert make(results, tmp_path / "clips").num_clips > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_killed_at_any_moment_and_run_again_the_set_is_that_of_an_undisturbed_run(
    results: Path, tmp_path: Path, form: str
) -> None:
    make(results, tmp_path / "whole", form=form)
    line = [
        sys.executable, "-m", "framemill", "clips", str(results), "-o", str(tmp_path / "clips"), "-q",
        "--format", form, "--min-seconds", "0.5", "--max-seconds", "1",
    ]  # fmt: skip
    for seconds in delays():
        run = subprocess.Popen(line, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        for path in (tmp_path / "clips").glob("*.mp4"):
            assert len(index_source(str(path)).frames)  # whole, or not there
    assert subprocess.run(line, cwd=PROJECT, stdout=subprocess.DEVNULL).returncode == 0
    mine, undisturbed = files(tmp_path / "clips"), files(tmp_path / "whole")
    del mine["clips.parquet"], undisturbed["clips.parquet"]
    assert mine == undisturbed
    rows = pq.read_table(tmp_path / "clips" / "clips.parquet").drop(["path"])
    assert rows.equals(pq.read_table(tmp_path / "whole" / "clips.parquet").drop(["path"]))


def delays() -> Iterator[float]:
    yield from (0.8, 1.2, 1.6, 2.0, 2.4, 3.0)
