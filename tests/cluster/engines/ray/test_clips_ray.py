"""Clips cut by the workers of a Ray cluster are those of one machine, each once, whoever dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.clips.conftest import extracted as extracted
from tests.cluster.clips.conftest import results as results
from tests.cluster.clips.test_making import files, make
from tests.cluster.engines.ray.ray_local import small_ray
from tests.object_stores import Bucket, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# The first worker that has a clip ready is killed before it can tell of it; who begins anew lives.
DIES_ONCE = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "framemill.cluster.clips.cutting":
            sys.meta_path.remove(self)
            from framemill.cluster.clips import target
            real = target.place_clip
            def place(*given):
                found = real(*given)
                try:
                    os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return found
                os.kill(os.getpid(), 9)
            target.place_clip = place
if "default_worker" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Finder())
"""


def test_a_worker_that_is_killed_costs_nothing_and_doubles_nothing(results: Path, tmp_path: Path) -> None:
    patch, mark = tmp_path / "patch", tmp_path / "died"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(DIES_ONCE.format(mark=str(mark)))
    make(results, tmp_path / "local")
    with small_ray(patch):
        make(results, tmp_path / "clips", engine="ray")
    assert mark.exists()
    mine, local = files(tmp_path / "clips"), files(tmp_path / "local")
    del mine["clips.parquet"], local["clips.parquet"]
    assert mine == local


def test_an_object_store_gets_the_clips_of_one_machine_from_workers(
    results: Path, tmp_path: Path, bucket: Bucket, s3_server: S3Server
) -> None:
    make(results, tmp_path / "local", form="webdataset")
    with small_ray():
        made = make(results, bucket.uri("clips"), form="webdataset", engine="ray")  # type: ignore[arg-type]
    assert bucket.read("clips/000000.tar") == (tmp_path / "local" / "000000.tar").read_bytes()
    assert not [key for key in bucket.keys("clips/.framemill/clips") if key.endswith(".mp4")]
    assert made.num_clips and set(files(tmp_path / "local")) == {"000000.tar", "clips.parquet"}
