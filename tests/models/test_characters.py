from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from framemill.errors import ModelError
from framemill.models.characters import read_characters
from framemill.models.registry import ModelEntry, resolve
from tests.models.graphs import scaler


def entry_of(path: Path, text: str | None) -> ModelEntry:
    model = onnx.load(str(path))
    if text is not None:
        model.metadata_props.add(key="character", value=text)
    onnx.save(model, str(path))
    return replace(resolve("text_recognition", str(path)), labels=())


def test_they_are_the_labels_of_the_entry() -> None:
    english = read_characters(resolve("text_recognition", "ppocrv2_rec_en"))
    assert len(english) == 97 and english[0] == "" and english[-1] == " "
    assert "".join(english[1:11]) == "0123456789" and len(set(english[1:-1])) == 95


def test_they_are_read_from_the_file_between_blank_and_space(tmp_path: Path) -> None:
    entry = entry_of(scaler(tmp_path / "own.onnx"), "a\nß\n字\n")
    assert read_characters(entry) == ("", "a", "ß", "字", " ")


def test_a_file_that_states_none_is_refused(tmp_path: Path) -> None:
    entry = entry_of(scaler(tmp_path / "own.onnx"), None)
    with pytest.raises(ModelError, match=r"states no 'character' .*; add the model with labels"):
        read_characters(entry)
