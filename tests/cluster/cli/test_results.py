"""`status`, `sql`, `compact`, `ops` and `models` on real folders, by the command and by the API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import framemill
from framemill.cluster.cli.main import main
from framemill.cluster.results import parts
from framemill.cluster.results.commits import Commit, new_run_id
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from framemill.ops import OPS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A result folder with three small parts in the table `beats`."""
    root = tmp_path / "out"
    dataset = Dataset.open(root, create=True)
    for number in range(3):
        run_id = new_run_id()
        rows = pa.table({"source_id": [f"s{number}"] * 2, "strength": [float("nan"), number + 0.5]})
        with dataset.hold(run_id):
            part = parts.write_part(root, "beats", [rows], run_id=run_id, seed=[f"s{number}"])
            assert part is not None
            dataset.commit(Commit(run_id=run_id, parts=(part,)))
    return root


def test_status(folder: Path, capsys: Capture) -> None:
    assert main(["status", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tables"]["beats"]["rows"], found["tables"]["beats"]["num_parts"]) == (6, 3)
    assert main(["status", str(folder)]) == 0
    header, beats = capsys.readouterr().out.splitlines()[-2:]
    assert header.split()[:4] == ["tables", "rows", "size", "parts"]
    assert beats.split()[:2] == ["beats", "6"]


def test_sql_as_table_json_and_csv(folder: Path, capsys: Capture) -> None:
    command = [
        "sql",
        str(folder),
        "SELECT source_id AS id, strength FROM beats WHERE source_id = 's1' ORDER BY 2",
    ]
    assert main(command) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["s1", "1.5"],
        ["s1", "nan"],
    ]
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == [{"id": "s1", "strength": 1.5}, {"id": "s1", "strength": None}]
    assert "NaN" not in out
    assert main([*command, "--csv"]) == 0
    assert capsys.readouterr().out == "id,strength\ns1,1.5\ns1,nan\n"
    assert main([*command, "--csv", "--json"]) == 2


@pytest.mark.parametrize(
    "query", ["SELECT nothing FROM beats", "DROP TABLE beats", "SELECT * FROM 'part.parquet'"]
)
def test_sql_that_cannot_be_answered_is_usage(folder: Path, capsys: Capture, query: str) -> None:
    assert main(["sql", str(folder), query]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")


@pytest.mark.parametrize("command", [["status"], ["compact"], ["sql", "SELECT 1"]])
def test_a_folder_without_results_is_usage(tmp_path: Path, capsys: Capture, command: list[str]) -> None:
    assert main([command[0], str(tmp_path), *command[1:]]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_compact_joins_once_and_keeps_the_rows(folder: Path, capsys: Capture) -> None:
    before = framemill.open(folder).table("beats").sort_by("source_id")
    assert main(["compact", str(folder), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert [(d["table"], d["parts_before"], d["parts_after"]) for d in done] == [("beats", 3, 1)]
    assert str(framemill.open(folder).table("beats").sort_by("source_id").to_pydict()) == str(
        before.to_pydict()
    )
    assert main(["compact", str(folder)]) == 0
    assert capsys.readouterr() == ("", "nothing to join\n")


def test_the_python_api_reads(folder: Path, tmp_path: Path) -> None:
    results = framemill.open(folder)
    assert results.tables() == ["beats", "errors", "runs"]
    assert results.table("beats").column_names == ["source_id", "strength"]
    answer = results.sql("SELECT count(*) AS n FROM beats")
    assert (answer.columns, answer.rows) == (("n",), [(6,)])
    with pytest.raises(UsageError, match="no table 'scenes' here; there are beats"):
        results.table("scenes")
    with pytest.raises(framemill.FramemillError):
        framemill.open(tmp_path / "nothing")


def test_ops_lists_all_and_describes_each(capsys: Capture) -> None:
    assert main(["ops", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == list(OPS)
    for record in records:
        assert record["what"] and record["doc"], record["name"]
        assert all(option["doc"] for option in record["options"]), record["name"]
        assert all(column["doc"] for column in record["columns"]), record["name"]
    assert main(["ops"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(OPS)
    assert main(["ops", "frames", "speech"]) == 0
    out = capsys.readouterr().out
    for said in ("frames (version", "speech (version", "images", "phash", "threshold", "reads audio"):
        assert said in out
    assert main(["ops", "nonsense"]) == 2
    assert "'nonsense'" in capsys.readouterr().err


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_dir: Path) -> Path:
    """The shared weights as a mirror; caches and blocks of this machine are out of sight."""
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    return models_dir


def answer(capsys: Capture, *command: str, code: int = 0) -> Any:
    assert main([*command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.media
def test_models_list_pull_verify(mirror: Path, capsys: Capture) -> None:
    listed = {record["name"]: record for record in answer(capsys, "models", "list")}
    assert listed["yolox_nano"]["path"] == str((mirror / "yolox_nano.onnx").resolve())
    pulled = answer(capsys, "models", "pull", "yolox_nano")
    assert pulled[0]["path"] == str((mirror / "yolox_nano.onnx").resolve())
    assert answer(capsys, "models", "verify", "yolox_nano")[0]["status"] == "ok"
    for command in (["list"], ["pull", "yolox_nano"], ["verify"]):
        assert main(["models", *command]) == 0
        assert "yolox_nano" in capsys.readouterr().out
    assert main(["models", "pull", "nonsense"]) == 2
    assert "yolox_nano" in capsys.readouterr().err


def test_a_wrong_or_missing_model_is_exit_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(tmp_path))
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    assert answer(capsys, "models", "verify", "yolox_nano", code=5)[0]["status"] == "absent"
    assert main(["models", "pull", "yolox_nano"]) == 5
    assert "FRAMEMILL_OFFLINE" in capsys.readouterr().err
    (tmp_path / "yolox_nano.onnx").write_bytes(b"something else")
    assert answer(capsys, "models", "verify", "yolox_nano", code=5)[0]["status"] == "wrong"


@pytest.mark.media
def test_models_add(mirror: Path, tmp_path: Path, capsys: Capture) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes((mirror / "yolox_nano.onnx").read_bytes())
    command = ["models", "add", str(own), "--role", "objects", "--name", "mine", "--colour", "rgb"]
    command += ["--family", "yolox"]
    command += ["--input-size", "416x416", "--mean", "1,2,3", "--labels", "coco80", "--licence", "MIT"]
    entry = answer(capsys, *command)
    assert entry["sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()
    assert (entry["colour"], entry["mean"], len(entry["labels"])) == ("rgb", [1.0, 2.0, 3.0], 80)
    assert "mine" in {record["name"] for record in answer(capsys, "models", "list")}
    assert main(command) == 2  # the name is taken
    assert main([*command[:5], "--name", "other", "--mean", "a,b"]) == 2
    assert "--mean" in capsys.readouterr().err
    assert main([*command[:5], "--name", "other", "--labels", f"@{tmp_path}/absent"]) == 2


@pytest.mark.media
def test_models_add_takes_labels_from_a_file(mirror: Path, tmp_path: Path, capsys: Capture) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\n\ndog\n")
    source = str(mirror / "yolox_nano.onnx")
    entry = answer(
        capsys, "models", "add", source, "--role", "objects", "--family", "yolox", "--name", "two",
        "--labels", f"@{names}",
    )  # fmt: skip
    assert entry["labels"] == ["cat", "dog"]
