"""From what a person types to a list of files: what is taken, what is left out, what is counted."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from framemill.cluster.run.sources import find_source, list_sources, paths_of, uri_of
from framemill.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with media by ending, media by content, and noise."""
    for name in ("a.mp4", "B.MKV", "deep/er/c.wav", "notes.txt", ".hidden.mp4", "deep/data.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"anything")
    (tmp_path / "camera").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (tmp_path / "stream.bin").write_bytes((b"\x47" + bytes(187)) * 2)
    return tmp_path


def _names(tree: Path, *arguments: str | Path) -> list[str]:
    found = list_sources([str(argument) for argument in arguments]).files
    return [os.path.relpath(file.path, tree) for file in found]


def test_a_folder_gives_its_media_in_order_and_counts_the_rest(tree: Path) -> None:
    listed = list_sources([str(tree)])
    assert _names(tree, tree) == ["B.MKV", "a.mp4", "camera", "stream.bin", "deep/er/c.wav"]
    assert listed.num_skipped == 3
    assert listed.files[1].num_bytes == 8 and listed.files[1].mtime_ns > 0


def test_one_file_by_its_path_or_address(tree: Path) -> None:
    (tree / "odd [1] #x?y%41 ü.mp4").write_bytes(b"anything")
    for path in (tree / "a.mp4", tree / "odd [1] #x?y%41 ü.mp4", tree / "absent [1].mp4"):
        found = find_source(str(path))
        assert found == find_source(path.as_uri()) == find_source(path.as_uri().replace("//", "//localhost"))
        assert (found.uri, found.num_bytes > 0) == (str(path), path.exists())
        assert not path.exists() or list_sources([str(path)]).files == (found,)
    for wrong in ("a.mp4", "./a.mp4", "@list.txt", "file://other/a.mp4", "http://host/a.mp4"):
        with pytest.raises(UsageError):
            find_source(wrong)


def test_what_is_named_is_taken_whatever_it_is(tree: Path) -> None:
    assert _names(tree, tree / "notes.txt", tree / "absent.mp4") == ["notes.txt", "absent.mp4"]
    absent = list_sources([str(tree / "absent.mp4")]).files[0]
    assert (absent.num_bytes, absent.mtime_ns) == (-1, -1)


def test_globs_lists_and_repetitions(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _names(tree, f"{tree}/*.mp4", f"{tree}/*.txt") == ["a.mp4"]
    assert _names(tree, f"{tree}/d*") == ["deep/er/c.wav"]
    assert sorted(_names(tree, f"{tree}/**")) == sorted(_names(tree, tree))
    listing = tree / "list.txt"
    listing.write_bytes(f"\ufeff{tree}/a.mp4\r\n\n# a comment\n{tree}/notes.txt\n".encode())
    assert _names(tree, f"@{listing}", tree / "a.mp4") == ["a.mp4", "notes.txt"]
    monkeypatch.chdir(tree)
    assert _names(tree, "a.mp4", "./a.mp4", "deep/../a.mp4") == ["a.mp4"]


def test_a_file_named_like_a_glob_or_a_list_is_itself(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    for name in ("take[1].mp4", "@home.mp4"):
        Path(name).write_bytes(b"x")
    assert _names(tree, "take[1].mp4", "@home.mp4") == ["take[1].mp4", "@home.mp4"]


def test_a_list_that_cannot_be_read_is_refused(tree: Path) -> None:
    (tree / "bad.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.txt", "bad.txt"):
        with pytest.raises(UsageError, match=name):
            list_sources([f"@{tree / name}"])


def test_results_are_never_inputs(tree: Path) -> None:
    listed = list_sources([str(tree)], leave_out=tree / "deep")
    assert [os.path.basename(file.path) for file in listed.files] == [
        "B.MKV",
        "a.mp4",
        "camera",
        "stream.bin",
    ]
    assert listed.num_skipped == 2


def test_typescript_is_no_transport_stream(tmp_path: Path) -> None:
    (tmp_path / "code.ts").write_text("export const größe = 1;\n" * 20)
    (tmp_path / "module.mts").write_text("import x from 'y';\n")
    (tmp_path / "video.ts").write_bytes((b"\x47" + bytes(187)) * 4)
    (tmp_path / "torn.ts").write_bytes(os.urandom(400))
    (tmp_path / "empty.ts").touch()
    listed = list_sources([str(tmp_path)])
    assert [os.path.basename(file.path) for file in listed.files] == ["empty.ts", "torn.ts", "video.ts"]
    assert listed.num_skipped == 2


def test_links_loops_and_pipes_end_nothing(tree: Path) -> None:
    (tree / "loop").symlink_to(tree)
    (tree / "broken.mp4").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "pipe")
    names = _names(tree, tree)
    assert "broken.mp4" in names and "pipe" not in names
    assert sum(name.endswith("a.mp4") for name in names) == 1


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
@pytest.mark.parametrize(
    "name",
    [b"plain.mp4", "snow \u2603.mp4".encode(), b"caf\xe9.mp4", b"\xff\x80 and \\.mp4", rb"caf\xe9.mp4"],
)
def test_a_path_is_known_again_by_its_text(name: bytes, tmp_path: Path) -> None:
    path = os.path.join(tmp_path, os.fsdecode(name))
    (file,) = list_sources([path]).files
    file.uri.encode("utf-8")
    assert paths_of(file.uri)[0] == path
    assert file.uri in paths_of(file.uri)


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_no_two_names_have_the_same_uri(tmp_path: Path) -> None:
    pieces = [
        b"\xff",
        b"\xe9",
        rb"\xff",
        rb"\xe9",
        rb"\x5c",
        rb"\x5cxff",
        b"\\",
        b"x",
        b"8",
        b"ff",
        b"\xc3\xa9",
    ]
    names = {b"".join(parts) for n in (1, 2, 3) for parts in itertools.product(pieces, repeat=n)}
    paths = [f"/videos/{os.fsdecode(name)}" for name in names]
    uris = {uri_of(path): path for path in paths}
    assert len(uris) == len(paths)
    assert all(paths_of(uri)[0] == path for uri, path in uris.items())
    for ordinary in ("/a/plain.mp4", "/a/caf\u00e9.mp4", r"/a/back\slash.mp4", r"C:\new\xray.mp4"):
        assert uri_of(ordinary) == ordinary


@pytest.mark.skipif(os.name != "posix", reason="no named pipes elsewhere")
def test_what_could_wait_for_ever_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe.*no regular file"):
        list_sources([f"@{tmp_path / 'pipe'}"])
    with pytest.raises(UsageError, match="no regular file"):
        list_sources([f"@{tmp_path}"])
    # It has no size and, for root, never ends; as a list it is empty.
    if os.path.exists("/proc/kmsg"):
        assert list_sources(["@/proc/kmsg"]).files == ()
    assert list_sources([str(tmp_path)]).num_skipped == 1


@pytest.mark.parametrize("argument", ["", "a.mp4", "*.mp4", "deep", "absent.mp4"])
def test_a_source_in_the_output_folder_is_refused_in_true_words(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, argument: str
) -> None:
    with pytest.raises(UsageError, match=r"the output folder.*never inputs.*beside") as told:
        list_sources([str(tree / argument)], leave_out=tree)
    assert ("itself" in str(told.value)) == (argument == "")
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(tree)
    with pytest.raises(UsageError, match="the output folder"):
        list_sources([str(link)], leave_out=tree)
