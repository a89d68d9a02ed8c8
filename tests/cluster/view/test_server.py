"""`framemill view` as other programs on the machine meet it: what is served, and to whom."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.server import make_pages, open_viewer
from framemill.errors import UsageError
from tests.cluster.view.folders import LATE, SAMPLE, add_rows

PORT, TOKEN = 5005, "a-token"
BASE = f"http://127.0.0.1:{PORT}"
PATHS = ("/", "/api/shots", "/api/sequence", "/static/app.js", "/stills/x/0", "/media/x", "/nothing")


@pytest.fixture(scope="module")
def live(folder: Dataset) -> Iterator[LiveFolder]:
    live = LiveFolder(Dataset.open(folder.root, create=False))
    yield live
    live.close()


@pytest.fixture
def stranger(live: LiveFolder) -> TestClient:
    return TestClient(make_pages(live, PORT, TOKEN), base_url=BASE, follow_redirects=False)


@pytest.fixture
def guest(stranger: TestClient) -> TestClient:
    assert stranger.get("/", params={"token": TOKEN}).status_code == 303
    return stranger


def file_of(client: TestClient, name: str) -> dict[str, object]:
    return next(file for file in client.get("/api/files").json()["rows"] if file["name"] == name)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 403
    assert stranger.get(path, params={"token": "b-token"}).status_code == 403
    assert stranger.get(path, params={"token": ""}).status_code == 403
    assert (
        stranger.get(path, headers={"Cookie": f"framemill_{PORT}=\xe9".encode("latin-1")}).status_code == 403
    )
    assert stranger.post(path).status_code == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(stranger: TestClient) -> None:
    answer = stranger.get("/", params={"token": TOKEN})
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", ""]
)
def test_another_host_is_refused_even_with_the_token(guest: TestClient, host: str) -> None:
    assert guest.get("/", headers={"Host": host}).status_code == 421
    assert guest.get("/", params={"token": TOKEN}, headers={"Host": host}).status_code == 421


def test_this_machine_may_be_called_localhost(guest: TestClient) -> None:
    assert guest.get("/", headers={"Host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_served(guest: TestClient, method: str) -> None:
    assert guest.request(method, "/static/app.js").status_code == 405


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/nothing"])
def test_every_answer_forbids_other_origins_and_guessing_of_types(guest: TestClient, path: str) -> None:
    headers = guest.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        *("/media/../../../etc/passwd", "/media/..%2f..%2fetc%2fpasswd", "/media//etc/passwd"),
        *("/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py"),
        *("/stills/../0", "/stills/..%2f/0"),
    ],
)
def test_files_are_not_reached_by_path(guest: TestClient, path: str) -> None:
    assert guest.get(path).status_code == 404


def test_a_file_is_served_by_its_content_id_whole_and_in_ranges(guest: TestClient, folder: Dataset) -> None:
    url = f"/{file_of(guest, SAMPLE)['url']}"
    content = (Path(str(folder.root)).parent / "media" / SAMPLE).read_bytes()
    whole = guest.get(url)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    assert whole.content == content
    part = guest.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    assert guest.get(url, headers={"Range": "bytes=-10"}).content == content[-10:]
    beyond = guest.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416


def test_a_file_that_was_changed_is_not_served(guest: TestClient, folder: Dataset) -> None:
    url = f"/{file_of(guest, LATE)['url']}"
    path = Path(str(folder.root)).parent / "media" / LATE
    before = path.read_bytes()
    path.write_bytes(before + b"more")
    try:
        assert guest.get(url).status_code == 404
    finally:
        path.write_bytes(before)
    assert guest.get(url).status_code == 200


def test_every_picture_that_the_data_names_is_there_and_no_other(guest: TestClient) -> None:
    people = guest.get("/api/people").json()["rows"]
    seen = [one["still"] for person in people for one in person["sightings"]]
    shots = guest.get("/api/shots").json()["rows"]
    assert seen and shots and all("face=" in url for url in seen)
    for url in [*seen, *(shot["still"] for shot in shots)]:
        answer = guest.get(f"/{url}")
        assert (answer.status_code, answer.content[8:12]) == (200, b"WEBP"), url
    source = file_of(guest, SAMPLE)["id"]
    for other in ("999999", "x", "0?face=1,2", "0?face=a,b,c,d", "0?face=1,2,3,4", "0?face=nan,1,1,1"):
        assert guest.get(f"/stills/{source}/{other}").status_code == 404, other


def test_a_commit_shows_in_the_next_answers(folder: Dataset, tmp_path: Path) -> None:
    shutil.copytree(str(folder.root), tmp_path / "out")
    own = Dataset.open(tmp_path / "out", create=False)
    live = LiveFolder(Dataset.open(tmp_path / "out", create=False), tmp_path / "cache")
    before = live.overview()
    assert live.state()["sequence"] == before["sequence"]
    add_rows(own, "sounds", {next(iter(uris_by_source(own))): []})
    assert live.state()["sequence"] == before["sequence"] + 1
    after = live.overview()
    assert after["sequence"] == before["sequence"] + 1
    assert set(after["tables"]) - set(before["tables"]) == {"sounds"}
    live.close()


def test_a_port_that_is_taken_is_named(folder: Dataset) -> None:
    first = open_viewer(folder)
    port = urlsplit(first.url).port
    assert port is not None
    with first._socket, pytest.raises(UsageError, match=f"port {port} cannot be had"):
        open_viewer(folder, port)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_prints_its_address_serves_it_and_ends_by_a_signal(
    folder: Dataset, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "framemill", "view", str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            url = process.stdout.readline().strip()
            assert urlsplit(url).hostname == "127.0.0.1"
            assert len(parse_qs(urlsplit(url).query)["token"][0]) > 40
            with httpx.Client(trust_env=False, follow_redirects=True) as client:
                assert "view.js" in client.get(url).text
            os.kill(process.pid, number)
            assert process.wait(10) == code
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
