"""On Ray, too, rows that break something or cannot be written fail one operation of one source."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from benchmarks.stand_ins import in_workers
from framemill.cluster.cli.main import main
from tests.cluster.engines.local.test_blame import BEFORE_THE_START, CANNOT_BE_WRITTEN, TOO_WIDE
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import RecordingReporter, extract, failures, patch_worker, rows_of, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_FILES = 12

# Beside a file `nobody`, rows can be written alone and not together.
NOBODYS = """
import os
import pyarrow as pa
import framemill.cluster.run.part_writer as part_writer
def write_alone(root, table, tables, real=part_writer.write_part, **rest):
    if len(tables) > 1 and os.path.exists(os.path.join(os.path.dirname(str(root)), 'nobody')):
        raise pa.ArrowInvalid('Value 4294967296 too large to fit in C integer type')
    return real(root, table, tables, **rest)
part_writer.write_part = write_alone
"""
TROUBLES = "\n".join(
    code.replace("real", f"real_{number}")  # each keeps what it replaces under a name of its own
    for number, code in enumerate((BEFORE_THE_START, CANNOT_BE_WRITTEN, TOO_WIDE))
)
SAID = {
    "scenes": "s is before the start",
    "audio_levels": "does not fit its column",
    "media": "does not fit its column",
}


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    body = textwrap.indent(TROUBLES + NOBODYS, "    ")
    (patch / "sitecustomize.py").write_text(in_workers(f"def stand_in():\n{body}"))
    with small_ray(patch):
        yield


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    """The guilty file, which is the largest and so in the first task, and innocent ones, some beside it."""
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "b.mp4").write_bytes((clips / "b.mp4").read_bytes() + b"\0\0\x80\0free" + bytes(0x8000 - 8))
    for number in range(NUM_FILES - 1):
        free = b"\0\0\0\x08free" * number
        (folder / f"{number}.mp4").write_bytes((clips / "a.mp4").read_bytes() + free)
    return folder


@pytest.mark.parametrize("shard_seconds", [600.0, 1.0], ids=["whole", "divided"])
def test_one_operation_of_one_source_pays(
    shard_seconds: float, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, reporter = divided(tmp_path / "ray", shard_seconds), RecordingReporter()
    # With one actor, several files share a task and the parts that it writes.
    summary = extract_on_ray(videos, out=out, reporter=reporter, actors="1")
    assert (summary.exit_code, summary.files_failed) == (3, 1)
    assert failures(out) == {("b.mp4", operation): "failed" for operation in SAID}
    for row in rows_of(out, "errors"):
        assert row["error"] == "InvariantError" and SAID[row["operation"]] in row["message"]
    assert sum("Traceback" in text for text in reporter.said) == len(SAID)
    if shard_seconds > 4:
        assert 1 < len(list((out / "frames").glob("*.parquet"))) < NUM_FILES
    patch_worker(monkeypatch, tmp_path, TROUBLES)
    extract(videos, out=divided(tmp_path / "local", shard_seconds))
    assert tables_of(out) == tables_of(tmp_path / "local")
    # The same command computes nothing, and what is there is sound.
    assert extract_on_ray(videos, out=out, actors="1").files_computed == 0
    assert main(["check", str(out)]) == 0


def test_a_write_that_fails_for_nobody_ends_the_run(videos: Path, tmp_path: Path) -> None:
    (videos / "b.mp4").unlink()
    (tmp_path / "nobody").touch()
    asked: dict[str, Any] = {"out": tmp_path / "out", "actors": "1"}
    with pytest.raises(Exception, match="Value 4294967296 too large"):
        extract_on_ray(videos, **asked)
    (tmp_path / "nobody").unlink()
    assert extract_on_ray(videos, **asked).exit_code == 0
