"""Finding sources in object stores: by the rules for folders on a disk, in few requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framemill.actors.indexing import index_source
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.packed import SourceRecord
from framemill.cluster.results.storage import open_root
from framemill.cluster.run.jobs import remembered_id
from framemill.cluster.run.remote_sources import _matches
from framemill.cluster.run.sources import find_source, list_sources
from framemill.errors import SetupError, UsageError
from tests.object_stores import Bucket

MP4 = b"\0\0\0\x18ftypmp42" + bytes(200)


@pytest.fixture
def tree(bucket: Bucket) -> Bucket:
    """Media by ending and by content, and what is none."""
    for key, data in {
        "in/a.mp4": MP4,
        "in/B.MKV": b"x",
        "in/deep/er/c.mov": b"x",
        "in/deep/no_ending": MP4,
        "in/deep/script.ts": b"const x: number = 1\n",
        "in/deep/stream.ts": b"G" + bytes(187) + b"G" + bytes(10),
        "in/deep/empty.mp4": b"",
        "in/.hidden.mp4": MP4,
        "in/notes.txt": MP4,
        "in/text": b"no media at all",
        "in/folder/": b"",
        "in2/other.mp4": MP4,
        "in/odd [1] #x?y%41 ü.mp4": MP4,
    }.items():
        bucket.put(key, data)
    return bucket


def found(bucket: Bucket, *arguments: str, **how: Any) -> list[str]:
    """Keys below `in/`, or whole addresses of others."""
    files = list_sources(arguments, **how).files
    return [file.uri.removeprefix(bucket.uri("in/")) for file in files]


ALL = [
    "B.MKV", "a.mp4", "deep/empty.mp4", "deep/er/c.mov", "deep/no_ending", "deep/stream.ts",
    "odd [1] #x?y%41 ü.mp4",
]  # fmt: skip


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder(tree: Bucket, end: str) -> None:
    listed = list_sources([tree.uri("in") + end])
    assert [file.uri.removeprefix(tree.uri("in/")) for file in listed.files] == ALL
    assert listed.num_skipped == 4
    first = listed.files[1]
    assert (first.path, first.num_bytes) == (first.uri, len(MP4))
    assert first.mtime_ns > 1_600_000_000 * 10**9
    assert len({file.content_id for file in listed.files}) == len(ALL)


def test_one_object_by_its_address_is_what_a_folder_lists(tree: Bucket) -> None:
    listed = list_sources([tree.uri("in")]).files
    find_source(listed[0].uri)
    before = len(tree.server.requests)
    assert [find_source(file.uri) for file in listed] == list(listed)
    assert len(tree.server.requests) - before == len(listed), "a request each"
    absent = find_source(tree.uri("in/absent.mp4"))
    assert (absent.uri, absent.num_bytes) == (tree.uri("in/absent.mp4"), -1)
    pattern = find_source(tree.uri("in/*.mp4"))
    assert pattern.num_bytes == -1, "nothing is expanded"
    for folder in ("in/", ""):
        with pytest.raises(UsageError, match="names no object"):
            find_source(tree.uri(folder))


def test_no_request_for_each_object(tree: Bucket) -> None:
    for number in range(50):
        tree.put(f"many/{number}.mp4", b"x")
    before = len(tree.server.requests)
    assert len(list_sources([tree.uri("many/")]).files) == 50
    methods = [method for method, _, query in tree.server.requests[before:]]
    assert len(methods) <= 2


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.mp4", ["a.mp4", "odd [1] #x?y%41 ü.mp4"]),
        ("in/?.mp4", ["a.mp4"]),
        ("in/**/*.mov", ["deep/er/c.mov"]),
        ("in/**", ALL),
        ("in/d*", ["deep/empty.mp4", "deep/er/c.mov", "deep/no_ending", "deep/stream.ts"]),
        ("in/[ab].mp4", ["a.mp4"]),
        ("in/.h*", []),
        ("in/x*", []),
        ("in/odd [1] #x?y%41 ü.mp4", ["odd [1] #x?y%41 ü.mp4"]),
        ("in/notes.txt", ["notes.txt"]),
        ("in/absent.mp4", ["absent.mp4"]),
    ],
)
def test_globs_and_names(tree: Bucket, pattern: str, expected: list[str]) -> None:
    assert found(tree, tree.uri(pattern)) == expected


def test_lists_with_addresses_and_paths(tree: Bucket, tmp_path: Path) -> None:
    (tmp_path / "here.mp4").write_bytes(MP4)
    first = tree.uri("in/a.mp4")
    lines = [first, "# a remark", str(tmp_path / "here.mp4"), tree.uri("in2"), first]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    listed = [file.uri for file in list_sources([f"@{tmp_path / 'list.txt'}"]).files]
    assert listed == [first, str(tmp_path / "here.mp4"), tree.uri("in2/other.mp4")]


def test_the_results_are_left_out(tree: Bucket) -> None:
    assert found(tree, tree.uri("in"), leave_out=open_root(tree.uri("in/deep"))) == [
        name for name in ALL if not name.startswith("deep/")
    ]
    for inside in ("in", "in/", "in/a.mp4", "in/*.mp4"):
        with pytest.raises(UsageError, match="the output folder"):
            list_sources([tree.uri(inside)], leave_out=open_root(tree.uri("in")))


def test_absent_objects_are_told_later_and_absent_buckets_now(tree: Bucket) -> None:
    (file,) = list_sources([tree.uri("in/absent.mp4")]).files
    assert (file.num_bytes, file.content_id) == (-1, "")
    with pytest.raises(SetupError, match="does not exist"):
        list_sources(["s3://no-such-bucket-at-all/in"])
    assert list_sources([tree.uri("absent/")]).files == ()
    tree.put("bad/a//b.mp4", b"x")
    with pytest.raises(SetupError, match="an empty part in its name, such as a//b"):
        list_sources([tree.uri("bad")])
    with pytest.raises(UsageError, match=r"https://somewhere/[.]{3} cannot be read"):
        list_sources(["https://somewhere/a.mp4"])


def test_one_object_that_may_not_be_read_costs_a_row_and_not_the_run(tree: Bucket) -> None:
    tree.server.refuse = lambda request: (
        "403 Forbidden" if request[1].endswith("/in/B.MKV") or "B.MKV" in request[2] else False
    )
    files = list_sources([tree.uri("in/a.mp4"), tree.uri("in/B.MKV")]).files
    assert [file.num_bytes for file in files] == [len(MP4), -1]
    with pytest.raises(SetupError, match="no permission"):
        list_sources([tree.uri("in/B.MKV")])


def test_what_is_remembered_of_an_object_is_its_tag_too(tree: Bucket) -> None:
    (file,) = list_sources([tree.uri("in/a.mp4")]).files
    record = SourceRecord(file.uri, file.content_id, file.num_bytes, file.mtime_ns, 1.0)
    state = DatasetState(sources={file.uri: record})
    assert remembered_id(file, state) == file.content_id
    other = SourceRecord(file.uri, "another", file.num_bytes, file.mtime_ns, 1.0)
    assert remembered_id(file, DatasetState(sources={file.uri: other})) is None


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a/*/c.mp4", "a/b/c.mp4", True),
        ("a/*/c.mp4", "a/b/x/c.mp4", False),
        ("a/*", "a/b/x/c.mp4", True),
        ("a/**/c.mp4", "a/c.mp4", True),
        ("a/**/c.mp4", "a/b/d/c.mp4", True),
        ("a/**/c.mp4", "a/.b/c.mp4", False),
        ("**/*.mp4", "x.mp4", True),
        ("a*/", "ab/x.mp4", True),
        ("a?/x", "ab/x/y", True),
        ("A/*.mp4", "a/x.mp4", False),
    ],
)
def test_patterns(pattern: str, key: str, matches: bool) -> None:
    assert _matches(pattern, key) is matches


def test_files_of_subtitles_are_taken_as_on_a_disk_and_can_be_read(bucket: Bucket) -> None:
    bucket.put("talks/a.mp4", MP4)
    bucket.put("talks/a.srt", b"1\n00:00:01,000 --> 00:00:02,500\none\n")
    film, text = bucket.uri("talks/a.mp4"), bucket.uri("talks/a.srt")
    folder = bucket.uri("talks/")
    assert [file.uri for file in list_sources([folder]).files] == [film]
    assert [file.uri for file in list_sources([folder], with_subtitles=True).files] == [film, text]
    assert [file.uri for file in list_sources([bucket.uri("talks/*.srt")]).files] == [text]
    index = index_source(text)
    assert (index.has_subtitles_alone, index.duration_seconds) == (True, 2.5)
