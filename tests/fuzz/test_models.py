"""`models add` of damaged files: errors that name the cause, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models.adding import add
from tests.fuzz.messages import encoded, parse
from tests.fuzz.models import run_batch, write_originals
from tests.fuzz.mutants import MODEL_KINDS, Mutant, make_mutant

COUNTS = {"ONNX": 12, "TOML": 60}


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_damaged_models_and_blocks_are_added_or_refused_by_name(kind: str, tmp_path: Path) -> None:
    files = write_originals(kind, tmp_path)
    mutants = [make_mutant(1, number, files, kind) for number in range(COUNTS[kind])]
    assert list(run_batch(kind, mutants)) == []
    whole = [Mutant(f"whole_{n}.onnx", file, (), file.read_bytes(), kind, 0) for n, file in enumerate(files)]
    assert list(run_batch(kind, whole)) == []


def test_what_runs_beyond_its_time_or_ends_the_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_originals("TOML", tmp_path)
    mutants = [make_mutant(1, number, files, "TOML") for number in range(3)]
    monkeypatch.setattr("tests.fuzz.models.DEADLINE_SECONDS", 0.0)
    assert [fault for fault, _ in run_batch("TOML", mutants)] == ["hangs"] * 3
    monkeypatch.setattr("tests.fuzz.models.DEADLINE_SECONDS", 30.0)
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert [fault for fault, _ in run_batch("TOML", mutants)] == ["crashes"] * 3


def test_a_parsed_message_is_written_again_as_it_was(tmp_path: Path) -> None:
    for file in write_originals("ONNX", tmp_path):
        fields = parse(file.read_bytes())
        assert fields is not None and encoded(fields) == file.read_bytes()
        assert isinstance(next(field.value for field in fields if field.number == 7), list), "the graph"


def test_a_file_that_the_runtime_refuses_is_refused_without_a_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a text holds that is not UTF-8 the runtime raises as another class, after which it tried again."""
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path))
    file = next(file for file in write_originals("ONNX", tmp_path) if file.stem == "labels")
    content = file.read_bytes()
    assert content.count(b"GlobalAveragePool") == 1
    file.write_bytes(content.replace(b"GlobalAveragePool", b"GlobalAveragePoo\xff"))
    with pytest.raises(ModelError, match="cannot be run"):
        add(str(file), "labels", name="mine")
    assert capsys.readouterr().out == ""
