"""What a person is told when a store cannot be used: at once, what to do, and never a secret."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.actors import object_store
from framemill.cluster.cli.main import main
from framemill.cluster.results import remote_path
from tests.cluster.extraction import PROJECT, command
from tests.object_stores import ACCESS_KEY, SECRET_KEY, Bucket

Capture = pytest.CaptureFixture[str]
SECONDS = 20.0


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Stores are opened anew, as in a process of its own."""
    for known in (object_store.open_store, remote_path.require_reachable):
        known.cache_clear()
    yield
    for known in (object_store.open_store, remote_path.require_reachable):
        known.cache_clear()


def refused(capsys: Capture, *line: str | Path) -> tuple[int, str]:
    """Exit code and message of a command that must not take long, nor show secrets."""
    began = time.monotonic()
    code = main(["extract", *map(str, line), "--ops", "media"])
    assert time.monotonic() - began < SECONDS
    said = capsys.readouterr()
    assert ACCESS_KEY not in said.out + said.err and SECRET_KEY not in said.out + said.err
    return code, " ".join(said.err.split())


@pytest.mark.parametrize("as_source", [True, False])
def test_a_bucket_that_does_not_exist(bucket: Bucket, clips: Path, capsys: Capture, as_source: bool) -> None:
    absent = "s3://no-such-bucket-anywhere/x"
    line = (absent, "-o", bucket.uri("out")) if as_source else (clips, "-o", absent)
    code, said = refused(capsys, *line)
    assert code == 5
    assert "the bucket s3://no-such-bucket-anywhere does not exist: check its name, or make it" in said


@pytest.mark.parametrize("as_source", [True, False])
def test_no_permission(bucket: Bucket, clips: Path, capsys: Capture, as_source: bool) -> None:
    bucket.put("in/a.mp4", clips / "a.mp4")
    part = "list-type" if as_source else "dataset.json"
    bucket.server.refuse = lambda request: "403 Forbidden" if part in "".join(request) else False
    code, said = refused(capsys, bucket.uri("in") if as_source else clips, "-o", bucket.uri("out"))
    assert code == 5
    assert f"no permission for s3://{bucket.name} (" in said and "ask for the right to list, read" in said


def test_no_network(clips: Path, bucket: Bucket, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://somebody:{SECRET_KEY}@127.0.0.1:{port}")
        for line in ((bucket.uri("in"), "-o", "/dev/null/never"), (clips, "-o", bucket.uri("out"))):
            code, said = refused(capsys, *line)
            assert code == 5
            assert f"s3://{bucket.name} cannot be reached at 127.0.0.1: check the network, AWS_END" in said


@pytest.mark.slow
def test_a_server_that_fails_for_good(bucket: Bucket, clips: Path, capsys: Capture) -> None:
    bucket.server.refuse = lambda request: "500 Internal Server Error" if "list-type" in request[2] else False
    code, said = refused(capsys, bucket.uri("in"), "-o", bucket.uri("out"))
    assert code == 5
    assert "cannot be listed: the storage answered 500 Told every time; try again later" in said


@pytest.mark.slow
def test_a_server_that_fails_in_the_middle_leaves_a_valid_folder(
    bucket: Bucket, clips: Path, capsys: Capture
) -> None:
    bucket.server.refuse = lambda request: request[0] == "PUT" and "/commits/" in request[1]
    code, said = refused(capsys, clips, "-o", bucket.uri("out"))
    assert code == 1
    assert "everything committed so far stays valid" in said and "503" in said
    bucket.server.refuse = lambda request: False
    assert main(["extract", str(clips), "-o", bucket.uri("out"), "--ops", "media"]) == 0


def test_no_credentials(
    bucket: Bucket, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, said = refused(capsys, bucket.uri("in"), "-o", bucket.uri("out"))
    assert code == 5
    assert "no credentials for s3://: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in said
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    code, said = refused(capsys, bucket.uri("in"), "-o", bucket.uri("out"))
    assert code == 5
    assert "the AWS profile 'nobody' gives no credentials (ProfileNotFound)" in said


def test_credentials_of_a_profile(
    bucket: Bucket, clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    credentials = tmp_path / "credentials"
    credentials.write_text(f"[work]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "work")
    uri = bucket.put("a.mp4", clips / "a.mp4")
    assert main(["extract", uri, "-o", bucket.uri("out"), "--ops", "media"]) == 0


def test_no_credentials_for_google(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*object_store._GOOGLE_SETTINGS, "GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    code, said = refused(capsys, "gs://some-bucket/in", "-o", "/dev/null/never")
    assert code == 5
    assert "no credentials for gs://: set GOOGLE_APPLICATION_CREDENTIALS to a key file" in said
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    code, said = refused(capsys, "gs://some-bucket/in", "-o", "/dev/null/never")
    assert code == 5
    assert "the credentials for gs://some-bucket cannot be used" in said


def test_without_the_extra(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with command(bucket.uri("in"), "-o", bucket.uri("out"), env={**os.environ, "PYTHONPATH": path}) as job:
        _, err = job.communicate(timeout=60)
    assert job.returncode == 5
    assert 'needs the extra `cloud`: pip install ".[cloud]"' in " ".join(err.split())


@pytest.mark.parametrize(
    "address",
    [
        f"s3://{ACCESS_KEY}:{SECRET_KEY}@bucket/in",
        f"s3://bucket/a.mp4?X-Amz-Signature={SECRET_KEY}",
        f"gs://bucket/a.mp4?GoogleAccessId=x&Signature={SECRET_KEY}",
        f"https://{ACCESS_KEY}:{SECRET_KEY}@somewhere/a.mp4?token={SECRET_KEY}",
        "ftp://somewhere/a.mp4",
        "s3://",
        "s3:///in",
    ],
)
@pytest.mark.parametrize("as_source", [True, False])
def test_addresses_that_are_refused(
    clips: Path, tmp_path: Path, capsys: Capture, address: str, as_source: bool
) -> None:
    line = (address, "-o", tmp_path / "out") if as_source else (clips, "-o", address)
    code, said = refused(capsys, *line)
    assert code == 2 and "://" in said
    assert not (tmp_path / "out").exists()


def test_results_need_a_folder_in_the_bucket(clips: Path, bucket: Bucket, capsys: Capture) -> None:
    for address in (bucket.uri(), bucket.uri("a/../b")):
        code, said = refused(capsys, clips, "-o", address)
        assert code == 2 and "name a folder in the bucket" in said


def test_a_folder_that_is_not_ours(clips: Path, bucket: Bucket, capsys: Capture) -> None:
    bucket.put("out/frames/one.parquet", b"somebody else's")
    code, said = refused(capsys, clips, "-o", bucket.uri("out"))
    assert code == 2 and "its frames would mix with the results" in said
    assert main(["status", bucket.uri("nothing")]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_no_secret_is_written_or_said_anywhere(bucket: Bucket, clips: Path) -> None:
    """Everything fails in turn while the server repeats the access key in its answers."""
    for clip in clips.iterdir():
        bucket.put(f"in/{clip.name}", clip)

    def refuse(request: Any) -> str | bool:
        return "403 Forbidden" if request[0] == "GET" and request[1].endswith("b.mp4") else False

    bucket.server.refuse = refuse
    with command(bucket.uri("in"), "-o", bucket.uri("out"), "-vv") as job:
        out, err = job.communicate(timeout=120)
    assert job.returncode == 3, err
    bucket.server.refuse = lambda request: "403 Forbidden" if request[0] == "PUT" else False
    with command(bucket.uri("in"), "-o", bucket.uri("out2"), "-vv") as job:
        more_out, more_err = job.communicate(timeout=120)
    assert job.returncode == 5, more_err
    results = framemill.open(bucket.uri("out"))
    tables = repr([results.table(name).to_pylist() for name in results.tables()])
    log = [bucket.read(key) for key in bucket.keys("out") if not key.endswith(".parquet")]
    written = b"".join([tables.encode(), *log])
    said = (out + err + more_out + more_err).encode()
    for secret in (ACCESS_KEY.encode(), SECRET_KEY.encode()):
        assert secret not in said
        assert secret not in written
    assert b"a.mp4" in written and b"no permission" in written


def test_a_local_run_imports_nothing_of_the_cloud() -> None:
    code = (
        "import sys, framemill.cluster.extraction_run, framemill.cluster.engines.local.answering\n"
        "import framemill.cluster.results.queries\n"
        "print([name for name in ('obstore', 'boto3', 'botocore', 'fsspec') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
