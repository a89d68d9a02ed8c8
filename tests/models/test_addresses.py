"""Addresses of models are asked, without fetching, by a server that follows a script."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.errors import ModelError
from framemill.models import addresses
from framemill.models.registry import user_folder
from tests.models.scripted_server import Page, ScriptedServer, serving

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serving() as served:
        yield served


def write_block(name: str, *urls: str, **more: Any) -> None:
    block = {"role": "objects", "family": "yolox", "sha256": DIGEST, "num_bytes": len(CONTENT), **more}
    user_folder().mkdir(parents=True, exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"name": name, "urls": urls, **block}.items()]
    (user_folder() / f"{name}.toml").write_text("\n".join(lines), "utf-8")


def state(server: ScriptedServer, page: Page, **more: Any) -> dict[str, Any]:
    server.pages["/m.onnx"] = page
    write_block("mine", f"{server.url}/m.onnx", **more)
    (row,) = addresses.check_models(["mine"])
    return row


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (Page(CONTENT), "ok"),
        (Page(CONTENT[:-1]), "changed"),
        (Page(b"version https://git-lfs.github.com/spec/v1\n"), "changed"),
        (Page(CONTENT, headers={"X-Linked-Etag": f'"{DIGEST}"', "X-Linked-Size": str(len(CONTENT))}), "ok"),
        (Page(CONTENT, headers={"X-Linked-Etag": f'"{OTHER}"'}), "changed"),
        (Page(CONTENT, headers={"ETag": f'"{OTHER}"'}), "ok"),  # of another kind
        (Page(status=404), "gone"),
        (Page(status=410), "gone"),
        (Page(status=403), "gone"),
        (Page(status=503), "unreachable"),
        (Page(CONTENT, head=405), "ok"),
        (Page(CONTENT[:-1], head=403), "changed"),
    ],
)
def test_sizes_and_digests_decide(server: ScriptedServer, page: Page, wanted: str) -> None:
    assert state(server, page)["state"] == wanted
    assert all(method == "HEAD" or page.head or page.status == 403 for method, _ in server.asked)


def test_size_and_digest_are_taken_where_the_server_sends_on(server: ScriptedServer) -> None:
    linked = {"X-Linked-Size": str(len(CONTENT)), "X-Linked-Etag": f'"{DIGEST}"', "Location": "/store"}
    row = state(server, Page(status=302, headers=linked))
    assert (row["state"], row["num_bytes"], row["sha256"]) == ("ok", len(CONTENT), DIGEST)
    assert server.asked == [("HEAD", "/m.onnx")]


def test_a_plain_redirect_is_followed_to_https_or_this_machine_alone(server: ScriptedServer) -> None:
    server.pages["/store"] = Page(CONTENT)
    assert state(server, Page(status=302, headers={"Location": "/store"}))["state"] == "ok"
    away = state(server, Page(status=302, headers={"Location": "http://192.0.2.1/m.onnx"}))
    assert away["state"] == "unreachable" and "only https" in away["message"]
    turning = state(server, Page(status=302, headers={"Location": "/m.onnx"}))
    assert turning["state"] == "unreachable" and "sent on more than" in turning["message"]


@pytest.mark.parametrize(("digest", "wanted"), [(DIGEST, "ok"), (OTHER, "changed")])
def test_of_a_file_in_git_lfs_the_pointer_tells_the_digest(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, digest: str, wanted: str
) -> None:
    monkeypatch.setattr(addresses, "_LFS_CONTENT", f"{server.url}/media/")
    monkeypatch.setattr(addresses, "_LFS_POINTER", f"{server.url}/raw/")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(CONTENT)}\n"
    server.pages = {"/media/o/r/c/m.onnx": Page(CONTENT), "/raw/o/r/c/m.onnx": Page(pointer.encode())}
    write_block("mine", f"{server.url}/media/o/r/c/m.onnx")
    (row,) = addresses.check_models(["mine"])
    assert (row["state"], row["sha256"]) == (wanted, digest)
    assert server.asked == [("HEAD", "/media/o/r/c/m.onnx"), ("GET", "/raw/o/r/c/m.onnx")]


def test_every_file_of_a_folder_is_asked_for(server: ScriptedServer) -> None:
    from framemill.models.folders import ModelFile, digest_files

    files = [ModelFile("config.json", DIGEST, len(CONTENT)), ModelFile("model.onnx", DIGEST, len(CONTENT))]
    server.pages = {"/f/config.json": Page(CONTENT)}
    write_block("mine", f"{server.url}/f/", sha256=digest_files(files))
    text = (user_folder() / "mine.toml").read_text("utf-8")
    listed = ", ".join(
        f'{{ name = "{f.name}", sha256 = "{f.sha256}", num_bytes = {f.num_bytes} }}' for f in files
    )
    (user_folder() / "mine.toml").write_text(f"{text}\nfiles = [{listed}]\n", "utf-8")
    assert addresses.check_models(["mine"])[0]["state"] == "gone"
    server.pages["/f/model.onnx"] = Page(CONTENT)
    assert addresses.check_models(["mine"])[0]["state"] == "ok"
    server.pages["/f/model.onnx"] = Page(CONTENT[:-1])
    (row,) = addresses.check_models(["mine"])
    assert row["state"] == "changed" and "model.onnx has 10239 bytes, wanted 10240" in row["message"]


def test_of_an_archive_it_is_asked_whether_it_is_there(server: ScriptedServer) -> None:
    server.pages["/sdk.zip"] = Page(b"x" * 100)
    write_block("mine", f"{server.url}/sdk.zip#in/m.onnx", f"{server.url}/gone.zip#in/m.onnx")
    assert [row["state"] for row in addresses.check_models(["mine"])] == ["ok", "gone"]


def test_a_default_that_is_gone_ends_the_command_with_5(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = addresses.all_entries()
    ours = [entry for entry in known if entry.package_file]
    monkeypatch.setattr(addresses, "all_entries", lambda: [*ours, *user_entries()])
    from framemill.models.registry import user_entries

    default = next(entry.name for entry in known if entry.role == "objects")
    write_block("spare", f"{server.url}/gone")
    write_block(default, f"{server.url}/gone", f"{server.url}/m.onnx")
    # What is no default may be gone, and one address of a default too.
    server.pages["/m.onnx"] = Page(CONTENT)
    assert main(["models", "check"]) == 0
    table, said = capsys.readouterr()
    lines = [line.split("\t") for line in table.splitlines()]
    assert [line[:2] for line in lines if line[0].startswith(default)] == [
        [f"{default} (default)", "gone"],
        [f"{default} (default)", "ok"],
    ]
    assert ["spare", "gone"] in [line[:2] for line in lines] and said == ""
    assert main(["models", "check", "spare"]) == 5
    server.pages["/m.onnx"] = Page(CONTENT[1:])
    capsys.readouterr()
    assert main(["models", "check", "--json"]) == 5
    out, said = capsys.readouterr()
    assert default in said and "spare" not in said
    states = {row["url"]: row["state"] for row in json.loads(out) if row["name"] == default}
    assert states == {f"{server.url}/gone": "gone", f"{server.url}/m.onnx": "changed"}


def test_offline_no_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    with pytest.raises(ModelError, match="FRAMEMILL_OFFLINE is set"):
        addresses.check_models()
    assert main(["models", "check", "yolox_nano"]) == 5


def test_nobody_listening_is_unreachable() -> None:
    write_block("mine", "http://127.0.0.1:9/m.onnx")
    (row,) = addresses.check_models(["mine"])
    assert row["state"] == "unreachable" and "refused" in row["message"]
