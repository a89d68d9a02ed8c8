"""Clips written into an object store are those of a local folder, and are made once."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.cluster.clips.test_making import files, make
from tests.object_stores import Bucket


@pytest.mark.parametrize("form", ["folder", "webdataset", "hf"])
def test_an_object_store_holds_the_same_clips_and_a_second_run_makes_none(
    results: Path, tmp_path: Path, bucket: Bucket, form: str
) -> None:
    make(results, tmp_path / "local", form=form)
    made = make(results, bucket.uri("clips"), form=form)  # type: ignore[arg-type]
    local = files(tmp_path / "local")
    keys = [key.removeprefix("clips/") for key in bucket.keys("clips")]
    assert {key for key in keys if not key.startswith(".framemill/")} == set(local)
    for name, data in local.items():
        if name.endswith((".mp4", ".tar")):
            assert bucket.read(f"clips/{name}") == data
    again = make(results, bucket.uri("clips"), form=form)  # type: ignore[arg-type]
    assert again.num_reused == again.num_clips == made.num_clips
    assert all(row["path"].startswith(bucket.uri("clips/")) for row in again.rows.to_pylist() if row["kept"])
    if form == "webdataset":
        with tarfile.open(fileobj=io.BytesIO(bucket.read("clips/000000.tar"))) as tar:
            assert len(tar.getnames()) == 2 * made.num_clips
