from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from framemill.errors import ModelError, UsageError
from framemill.models import download as downloads
from framemill.models import store
from framemill.models.folders import ModelFile, digest_files
from framemill.models.registry import DEFAULTS, ModelEntry, parse_entry

CONTENT = bytes(range(256)) * 3000


class Server(ThreadingHTTPServer):
    paths: ClassVar[list[str]] = []


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        Server.paths.append(self.path)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://192.0.2.1/model.onnx")
            self.end_headers()
            return
        body = {"/wrong": b"x" * len(CONTENT), "/long": CONTENT * 2, "/short": CONTENT[:1000]}
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        self.wfile.write(body.get(self.path, CONTENT))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)


@pytest.fixture
def url() -> Iterator[str]:
    Server.paths.clear()
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def entry(
    url: str = "https://example.invalid/model.onnx", content: bytes = CONTENT, **more: Any
) -> ModelEntry:
    return ModelEntry(
        name="tiny",
        role="objects",
        family="yolox",
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        licence="MIT",
        commercial="yes",
        urls=(url,) if url else (),
        **more,
    )


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(folder))
    return folder


def leftovers() -> list[Path]:
    folder = store.cache_folder() / "models"
    return list(folder.iterdir()) if folder.exists() else []


def test_downloads_once_with_progress_then_reads_the_cache(url: str) -> None:
    told: list[tuple[int, int]] = []
    path = store.find(entry(f"{url}/model.onnx"), lambda done, total, retry: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    assert store.find(entry(f"{url}/model.onnx")) == path
    assert Server.paths == ["/model.onnx"] and leftovers() == [path]


def test_the_mirror_comes_first(url: str, mirror: Path) -> None:
    (mirror / "tiny.onnx").write_bytes(CONTENT)
    assert store.find(entry(f"{url}/model.onnx")) == mirror / "tiny.onnx"
    assert Server.paths == []


def test_a_mirror_without_the_file_is_passed_over(url: str, mirror: Path) -> None:
    assert store.find(entry(f"{url}/model.onnx")).parent == store.cache_folder() / "models"


def test_wrong_bytes_name_file_digests_and_remedy(mirror: Path) -> None:
    (mirror / "tiny.onnx").write_bytes(b"other")
    got = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelError, match=rf"tiny\.onnx has sha256 {got}, wanted {entry().sha256}; replace"):
        store.find(entry())


def test_a_mirror_that_is_no_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", "/no/such/folder")
    with pytest.raises(ModelError, match="/no/such/folder is no folder"):
        store.find(entry())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/wrong", "wanted 768000 bytes"),
        ("/short", "sent 1000 bytes"),
        ("/long", "more than the 768000 bytes"),
        ("/gone", "404"),
        ("/elsewhere", "only https"),
    ],
)
def test_a_bad_download_leaves_nothing(url: str, path: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        store.find(entry(url + path))
    assert leftovers() == []


@pytest.mark.parametrize("bad", ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/hosts"])
def test_only_https_is_spoken(bad: str) -> None:
    with pytest.raises(ModelError, match="only https"):
        store.find(entry(bad))


def test_offline_opens_no_socket(url: str, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(AssertionError, match="socket"):
        store.find(entry(f"{url}/model.onnx"))  # the guard works
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    with pytest.raises(ModelError, match="FRAMEMILL_OFFLINE"):
        store.find(entry(f"{url}/model.onnx"))
    (mirror / "tiny.onnx").write_bytes(CONTENT)
    assert store.find(entry(f"{url}/model.onnx")) == mirror / "tiny.onnx"


def test_concurrent_downloads_agree(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: store.find(entry(f"{url}/model.onnx")), range(8)))
    assert len(set(paths)) == 1 and paths[0].read_bytes() == CONTENT
    assert leftovers() == [paths[0]]


def test_pull_replaces_a_damaged_cache(url: str) -> None:
    wanted = entry(f"{url}/model.onnx")
    path = store.pull(wanted)
    path.write_bytes(b"rot")
    with pytest.raises(ModelError, match="framemill models pull tiny"):
        store.find(wanted)
    assert store.pull(wanted) == path and path.read_bytes() == CONTENT


def test_weights_inside_a_package_are_found_and_checked() -> None:
    vad = DEFAULTS["vad"]
    assert store.find(vad).name == "silero_vad_v6.onnx"
    with pytest.raises(ModelError, match="install no-such-package"):
        store.find(entry("", package_file="no_such_package/weights.onnx"))
    with pytest.raises(ModelError, match="version of the package"):
        store.find(entry("", package_file=vad.package_file))


def test_a_users_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"moved\.onnx is gone"):
        store.find(entry("", path=str(tmp_path / "moved.onnx")))


def test_a_cache_that_cannot_be_written_says_so(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="FRAMEMILL_CACHE_DIR"):
        store.find(entry(f"{url}/model.onnx"))


def test_listing_and_verifying_are_plain_data(mirror: Path) -> None:
    rows = {row["name"]: row for row in store.list_models()}
    assert rows["yolox_nano"]["path"] is None and rows["silero_vad_v6"]["path"]
    (mirror / "yolox_nano.onnx").write_bytes(b"other")
    checked = {row["name"]: row for row in store.verify()}
    assert checked["silero_vad_v6"]["status"] == "ok" and checked["silero_vad_v6"]["message"] == ""
    assert (
        checked["yolox_nano"]["status"] == "wrong" and "wanted c789161e" in checked["yolox_nano"]["message"]
    )
    (mirror / "yolox_nano.onnx").unlink()
    assert [row["status"] for row in store.verify(["yolox_nano"])] == ["absent"]
    with pytest.raises(UsageError, match="unknown model 'nope'"):
        store.verify(["nope"])


FILES = {"config.json": b"{}", "model.bin": CONTENT}


def folder_entry(url: str = "") -> ModelEntry:
    files = tuple(ModelFile(n, hashlib.sha256(c).hexdigest(), len(c)) for n, c in FILES.items())
    return ModelEntry(
        name="words",
        role="transcript",
        family="whisper",
        sha256=digest_files(files),
        num_bytes=sum(file.num_bytes for file in files),
        licence="MIT",
        commercial="yes",
        urls=(url,) if url else (),
        files=files,
    )


def write_folder(folder: Path, **changed: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(changed.get(name.split(".")[0], content))
    return folder


def test_a_folder_is_found_in_the_mirror_and_every_file_checked(mirror: Path) -> None:
    folder = write_folder(mirror / "words")
    assert store.find(folder_entry()) == folder
    (folder / "model.bin").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model.bin has sha256 .*; replace the file in the mirror"):
        store.find(folder_entry())
    (folder / "model.bin").unlink()
    with pytest.raises(ModelError, match=r"model.bin is missing"):
        store.find(folder_entry())


def test_a_folder_is_downloaded_file_by_file_and_resumed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "config.json", CONTENT)
    entry = folder_entry(url + "/")
    cached = store.cache_path(entry)
    cached.mkdir(parents=True)
    (cached / "config.json").write_bytes(CONTENT)
    assert store.locate(entry) is None
    assert store.find(entry) == cached
    assert Server.paths == ["/model.bin"]
    assert sorted(path.name for path in cached.iterdir()) == ["config.json", "model.bin"]
    assert store.locate(entry) == cached
    (cached / "model.bin").write_bytes(b"broken")
    assert store.pull(entry) == cached and store.find(entry) == cached
    assert Server.paths == ["/model.bin"] * 2


def test_a_folder_without_origin_says_where_to_put_it() -> None:
    with pytest.raises(ModelError, match="put words into the folder that FRAMEMILL_MODEL_MIRROR names"):
        store.find(folder_entry())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([{"name": "../x", "sha256": "0" * 64, "num_bytes": 1}], "without its folder"),
        ([{"name": "x"}], "give each name"),
        ([{"name": "x", "sha256": "0" * 64, "num_bytes": 1}], "that of the list of files"),
    ],
)
def test_wrong_lists_of_files_are_refused(files: list[dict[str, Any]], words: str) -> None:
    block = {"name": "mine", "role": "transcript", "family": "whisper", "sha256": "1" * 64, "files": files}
    with pytest.raises(UsageError, match=words):
        parse_entry(block)
