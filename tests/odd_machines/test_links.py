"""Links in the folders that models lie in: what they lead to decides, and nothing else is opened by them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models import store
from framemill.models.download import resuming
from framemill.models.registry import resolve
from tests.cluster.extraction import extract, rows_of


@pytest.fixture
def mirror(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror whose files are links to others, as in the cache of a hub."""
    folder, blobs = tmp_path / "mirror", tmp_path / "blobs"
    (folder / "whisper_words").mkdir(parents=True)
    shutil.copytree(models_dir / "whisper_words", blobs)
    for path in sorted(blobs.iterdir()):
        (folder / "whisper_words" / path.name).symlink_to(path)
    shutil.copy(models_dir / "yolox_nano.onnx", blobs)
    (folder / "yolox_nano.onnx").symlink_to(blobs / "yolox_nano.onnx")
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(folder))
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "id_rsa"
    path.parent.mkdir()
    path.write_text("secret")
    return path


def test_models_that_links_in_the_mirror_lead_to_are_read_in_the_sandbox(
    mirror: Path, media_dir: Path, tmp_path: Path
) -> None:
    sound = media_dir / "audio" / "whisper_words" / "en_03.flac"
    models = {"transcript": "whisper_words"}
    summary = extract(sound, out=tmp_path / "out", ops=("media", "transcript"), models=models)
    assert summary.exit_code == 0
    assert rows_of(tmp_path / "out", "transcript")
    assert "yolox_nano.onnx" in {path.name for path in store.files_now(resolve("objects", "yolox_nano"))}


def test_a_link_to_what_is_no_file_of_the_model_opens_nothing_to_the_sandbox(
    mirror: Path, secret: Path
) -> None:
    for role, name, link in (
        ("objects", "yolox_nano", mirror / "yolox_nano.onnx"),
        ("transcript", "whisper_words", mirror / "whisper_words" / "config.json"),
    ):
        entry = resolve(role, name)
        link.unlink()
        link.symlink_to(secret)
        assert secret not in store.files_now(entry)
        with pytest.raises(ModelError, match=rf"{link.name} has sha256 [0-9a-f]+, wanted [0-9a-f]+; replace"):
            store.find(entry)


def test_a_folder_of_a_model_that_leads_elsewhere_opens_nothing_but_the_models_files(
    mirror: Path, secret: Path
) -> None:
    folder = mirror / "whisper_words"
    shutil.rmtree(folder)
    folder.symlink_to(secret.parent)
    assert store.files_now(resolve("transcript", "whisper_words")) == []


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "yolox_nano.onnx", "../../nowhere"])
def test_a_link_to_what_never_ends_or_leads_nowhere_counts_as_absent(
    mirror: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    os.mkfifo(mirror / "pipe")
    (mirror / "yolox_nano.onnx").unlink()
    (mirror / "yolox_nano.onnx").symlink_to(target)
    entry = resolve("objects", "yolox_nano")
    assert store.locate(entry) in (None, store.cache_path(entry))
    assert store.files_now(entry) in ([], [store.cache_path(entry).resolve()])


def test_a_download_does_not_go_where_a_link_in_the_cache_leads(tmp_path: Path, secret: Path) -> None:
    path, digest = tmp_path / "cache" / "model.onnx", "0" * 64
    path.parent.mkdir()
    with resuming(path, digest) as file:
        file.write(b"whole")
    path.with_name(f".part-{digest[:32]}").symlink_to(secret)
    with resuming(path, digest) as file:
        file.truncate(0)
        file.write(b"again")
    assert (path.read_bytes(), secret.read_text()) == (b"again", "secret")
