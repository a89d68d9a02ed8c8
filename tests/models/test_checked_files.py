"""What is loaded is what was checked, whatever is done to the file in between."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from framemill.errors import ModelError
from framemill.models import checked_files, store
from framemill.models.folders import ModelFile, digest_files
from framemill.models.onnx_batching import load_graph
from framemill.models.registry import DEFAULTS, ModelEntry, resolve
from framemill.models.session import open_model
from framemill.models.tokens import Tokenizer
from tests.models.graphs import save, scaler

ROW = {"x": np.ones((1, 3, 4, 4), np.float32)}


def replaced(path: Path, other: Path) -> None:
    """Another file takes its place, of another inode."""
    os.replace(other, path)


def overwritten(path: Path, other: Path) -> None:
    """The same file gets other bytes, and its old times: only that of the change shows it."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(path: Path, other: Path) -> None:
    """A link that leads elsewhere takes its place."""
    path.unlink()
    path.symlink_to(other)


ways = pytest.mark.parametrize("change", [replaced, overwritten, linked])


def entry_of(path: Path) -> ModelEntry:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(DEFAULTS["objects"], name="tiny", sha256=digest, path=str(path), urls=(), input_size=None)


@pytest.fixture(params=["old", "young"])
def _age(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test are young; as old ones, their state is trusted as that of models on a disk is."""
    if request.param == "old":
        monkeypatch.setattr(checked_files, "_STEP_SECONDS", -1.0)


@ways
@pytest.mark.usefixtures("_age")
def test_a_model_that_is_changed_after_its_check_is_not_opened(
    tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    path, other = scaler(tmp_path / "m.onnx", factor=2.0), scaler(tmp_path / "other.onnx", factor=3.0)
    entry = entry_of(path)
    assert (open_model(entry, store.find(entry), 1, "cpu")[0].runner.run(ROW)["y"] == 2).all()
    found = store.find(entry)
    change(path, other)
    for load in (lambda: open_model(entry, found, 1, "cpu"), lambda: load_graph(found)):
        with pytest.raises(ModelError, match=r"m\.onnx was changed after it had been checked.*wanted"):
            load()


def test_a_model_that_is_touched_is_still_the_one_that_was_checked(tmp_path: Path) -> None:
    entry = entry_of(scaler(tmp_path / "m.onnx"))
    found = store.find(entry)
    os.utime(found)
    assert (open_model(entry, found, 1, "cpu")[0].runner.run(ROW)["y"] == 2).all()


def test_a_model_that_is_swapped_while_the_runtime_opens_it_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    path, other = scaler(tmp_path / "m.onnx"), scaler(tmp_path / "other.onnx", factor=3.0)
    entry, opens = entry_of(path), onnxruntime.InferenceSession

    def swapped(*arguments: Any, **settings: Any) -> Any:
        os.replace(other, path)
        return opens(*arguments, **settings)

    found = store.find(entry)
    monkeypatch.setattr(onnxruntime, "InferenceSession", swapped)
    assert (open_model(entry, found, 1, "cpu")[0].runner.run(ROW)["y"] == 2).all()


def weights_apart(folder: Path, factor: float) -> tuple[ModelFile, ...]:
    """A graph whose weights lie in a second file, and what is said of both."""
    folder.mkdir()
    save(
        folder / "model.onnx",
        [helper.make_node("Mul", ["x", "factors"], ["y"])],
        {"x": ["n", 3, 4, 4]},
        {"y": ["n", 3, 4, 4]},
        {"factors": np.full((3, 4, 4), factor, np.float32)},
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=64,
    )
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return tuple(ModelFile(n, hashlib.sha256(c).hexdigest(), len(c)) for n, c in contents.items())


@ways
@pytest.mark.usefixtures("_age")
def test_weights_in_a_second_file_are_those_that_were_checked(
    tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    files = weights_apart(tmp_path / "m", 3.0)
    weights_apart(tmp_path / "other", 4.0)
    entry = replace(
        entry_of(tmp_path / "m" / "model.onnx"),
        files=files,
        sha256=digest_files(files),
        path=str(tmp_path / "m"),
    )
    found = store.find(entry)
    assert (open_model(entry, found, 1, "cpu")[0].runner.run(ROW)["y"] == 3).all()
    change(found / "model.onnx_data", tmp_path / "other" / "model.onnx_data")
    with pytest.raises(ModelError, match=r"model\.onnx_data was changed after it had been checked"):
        open_model(entry, found, 1, "cpu")


@pytest.fixture
def whisper(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of a small Whisper folder."""
    folder = tmp_path / "whisper"
    shutil.copytree(models_dir / "whisper_words", folder)
    return folder


@ways
@pytest.mark.usefixtures("_age")
@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "vocabulary.json"])
def test_a_file_of_a_whisper_folder_that_is_changed_after_its_check_is_not_loaded(
    whisper: Path, tmp_path: Path, name: str, change: Callable[[Path, Path], None]
) -> None:
    entry = resolve("transcript", str(whisper))
    found = store.find(entry)
    other = tmp_path / "other"
    other.write_bytes((whisper / name).read_bytes()[:-1] + b" ")
    change(whisper / name, other)
    with pytest.raises(ModelError, match=rf"{name} was changed after it had been checked"):
        open_model(entry, found, 1, "cpu")


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_whisper_folder_that_is_swapped_while_it_is_loaded_gives_the_checked_model_or_none(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_place: bool
) -> None:
    import faster_whisper

    entry, opens = resolve("transcript", str(whisper)), faster_whisper.WhisperModel
    found = store.find(entry)

    def swapped(folder: str, **settings: Any) -> Any:
        if is_in_place:
            (whisper / "tokenizer.json").chmod(0o644)
            (whisper / "tokenizer.json").write_bytes(b"{}")
        else:
            whisper.rename(tmp_path / "away")
            whisper.mkdir()
        try:
            return opens(folder, **settings)
        finally:
            if is_in_place:
                shutil.copy(tmp_path / "whole.json", whisper / "tokenizer.json")

    shutil.copy(whisper / "tokenizer.json", tmp_path / "whole.json")
    monkeypatch.setattr(faster_whisper, "WhisperModel", swapped)
    if is_in_place:
        with pytest.raises(ModelError, match=r"cannot be opened|was changed"):
            open_model(entry, found, 1, "cpu")
    else:
        assert open_model(entry, found, 1, "cpu")[1].provider == "cpu"


def test_a_tokenizer_that_is_changed_after_its_check_is_not_used(
    whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = resolve("transcript", str(whisper))
    assert Tokenizer(entry, 8).encode(["a"])
    found = store.find(entry)
    (whisper / "tokenizer.json").chmod(0o644)
    (whisper / "tokenizer.json").write_bytes((whisper / "tokenizer.json").read_bytes() + b"\n")
    monkeypatch.setattr("framemill.models.tokens.find", lambda entry: found)
    with pytest.raises(ModelError, match=r"tokenizer\.json was changed after it had been checked"):
        Tokenizer(entry, 8)
