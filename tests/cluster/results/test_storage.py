"""Files and folders in an object store, as results need them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster.results import storage
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import arrow_path, file_system, open_root
from tests.object_stores import Bucket


@pytest.fixture
def root(bucket: Bucket) -> RemotePath:
    root = open_root(bucket.uri("some/out/"))
    assert isinstance(root, RemotePath)
    return root


def test_names(root: RemotePath, bucket: Bucket) -> None:
    assert str(root) == bucket.uri("some/out")
    assert (str(root / "a" / "b.json"), (root / "a").name, (root / "a").parent) == (
        bucket.uri("some/out/a/b.json"), "a", root,
    )  # fmt: skip
    assert open_root(str(root)) == open_root(root) == root
    assert open_root("relative") == Path(os.path.abspath("relative"))


def test_objects_are_made_replaced_read_listed_and_removed(root: RemotePath) -> None:
    assert not root.is_dir() and not (root / "a").exists() and list(root.iterdir()) == []
    (root / "a").write_bytes(b"one")
    (root / "a").write_bytes(b"three")
    (root / "deep" / "b.txt").write_text("ü")
    assert root.is_dir() and (root / "a").exists() and not (root / "deep").exists()
    assert ((root / "a").read_bytes(), (root / "a").num_bytes()) == (b"three", 5)
    assert (root / "a").read_range(1, 3) == b"hr"
    assert [path.name for path in root.iterdir()] == storage.list_names(root) == ["a", "deep"]
    assert [name for name, _, _ in root.list_inside()] == ["a", "deep/b.txt"]
    assert list(root.glob("?")) == [root / "a"]
    (root / "a").unlink()
    (root / "a").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (root / "a").read_bytes()
    storage.remove_tree(root)
    assert not root.is_dir()


def test_a_new_object_is_made_once(root: RemotePath, bucket: Bucket) -> None:
    won: list[int] = []

    def make(number: int) -> None:
        try:
            (root / "one").write_new(f"{number}".encode())
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and (root / "one").read_bytes() == f"{won[0]}".encode()


def test_an_answer_that_got_lost_is_no_failure(root: RemotePath, bucket: Bucket) -> None:
    (root / "one").write_bytes(b"ours")  # the request took effect, and is sent again
    (root / "one").write_new(b"ours")
    with pytest.raises(FileExistsError):
        (root / "one").write_new(b"theirs")


def test_an_object_that_was_in_the_way_and_is_gone(
    root: RemotePath, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "one"
    path.write_bytes(b"theirs")
    read = RemotePath.read_bytes

    def remove_and_read(self: RemotePath) -> bytes:
        self.unlink()
        return read(self)

    monkeypatch.setattr(RemotePath, "read_bytes", remove_and_read)
    with pytest.raises(FileExistsError):
        path.write_new(b"ours")


def test_many_objects_are_read_at_once(root: RemotePath) -> None:
    paths = [root / str(number) for number in range(20)]
    for path in paths:
        path.write_text(path.name)
    assert list(storage.read_files(paths)) == [path.name.encode() for path in paths]


def test_nothing_is_there_of_a_file_that_failed_half_way(root: RemotePath) -> None:
    with pytest.raises(RuntimeError), storage.uploading(root / "a") as file:
        file.write(b"half")
        raise RuntimeError
    assert not (root / "a").exists()


def test_a_query_fetches_the_columns_it_needs(root: RemotePath, bucket: Bucket) -> None:
    num = 400_000
    big = [os.urandom(8) for _ in range(num)]
    rows = pa.table({"source_id": ["s"] * num, "small": list(range(num)), "big": big})
    part = write_part(root, "frames", [rows], run_id="r", seed=["s"])
    assert part is not None and part.num_bytes > 3_000_000
    path = root / "frames" / part.name
    files = file_system(root)
    assert pq.read_schema(arrow_path(path), filesystem=files).names == ["source_id", "small", "big"]
    small = pq.read_table(arrow_path(path), filesystem=files, columns=["small"])
    assert small["small"].to_pylist()[-1] == num - 1
    assert bucket.served(path.key) < part.num_bytes / 2
