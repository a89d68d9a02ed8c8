"""The public stage: what an actor makes of a batch, and a pipeline of a user's own that goes on with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray")

import ray
import ray.data

import framemill
import framemill.ray
from benchmarks.machines import machines
from framemill.cluster.engines.local.serving import SourceTables, table_schema
from framemill.cluster.engines.ray import stage
from framemill.cluster.engines.ray.pools import plan_each
from framemill.cluster.in_memory import plan_in_memory
from framemill.cluster.request import ExtractRequest
from framemill.errors import FramemillError, SetupError, UsageError
from framemill.ray import Extractor
from tests.cluster.engines.ray.ray_local import small_ray
from tests.cluster.engines.ray.ray_watching import finish
from tests.cluster.extraction import OPS, PROJECT, extract, patch_worker, render_clip, rows_of
from tests.cluster.test_in_memory import COUNT

ADDED = ["source_id", "status", "error", *OPS, "errors"]
ASKED: dict[str, Any] = {"ops": OPS, "sample": "every:0.5", "options": {"frames": {"images": True}}}


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    made = Extractor(threads=2, **ASKED)
    yield made
    made.close()


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=repr)


def test_a_batch_goes_in_and_a_row_for_each_comes_out_in_order(
    extractor: Extractor, clips: Path, tmp_path: Path
) -> None:
    uris = [
        str(clips / "b.mp4"),
        None,
        str(clips / "c.mkv"),
        str(tmp_path / "absent.mp4"),
        str(clips / "b.mp4"),
    ]
    batch = pa.table({"number": [5, 4, 3, 2, 1], "uri": uris})
    rows = list(extractor(batch))
    assert [row.num_rows for row in rows] == [1] * 5
    assert all(set(row.column_names) == {"number", "uri", *ADDED} for row in rows)
    assert all(row.schema.equals(rows[0].schema) for row in rows), "also where all is null"
    found = pa.concat_tables(rows).to_pylist()
    assert [(row["number"], row["uri"]) for row in found] == list(zip([5, 4, 3, 2, 1], uris, strict=True))
    assert [row["status"] for row in found] == ["ok", "failed", "ok", "failed", "ok"]
    assert found[0]["frames"] == found[4]["frames"] and found[0]["error"] is None
    assert found[1]["source_id"] is None and "no file is named" in found[1]["error"]
    assert found[3]["scenes"] is None and found[3]["errors"][0]["uri"] == uris[3]
    assert found[2]["audio_levels"] == [], "nothing to hear is no failure"
    extract(clips / "b.mp4", clips / "c.mkv", out=tmp_path / "out", **ASKED)
    for op in OPS:
        rows_there = [row for index in (0, 2) for row in found[index][op]]
        assert _sorted(rows_there) == _sorted(rows_of(tmp_path / "out", op)), op


def test_columns_have_the_types_of_the_tables(extractor: Extractor, clips: Path, tmp_path: Path) -> None:
    (row,) = extractor({"uri": [str(clips / "a.mp4")]})
    extract(clips / "a.mp4", out=tmp_path / "out", **ASKED)
    results = framemill.open(tmp_path / "out")
    for op in OPS:
        assert row.schema.field(op).type == pa.list_(pa.struct(list(results.table(op).schema))), op
    pq.write_table(row, tmp_path / "row.parquet")
    assert pq.read_table(tmp_path / "row.parquet").to_pylist() == row.to_pylist()


def test_rows_that_cannot_be_worked_on_are_refused(extractor: Extractor, clips: Path) -> None:
    uri = str(clips / "a.mp4")
    for batch, said in (
        ({"path": [uri]}, r"`column='uri'`: the rows have no such column; they have path"),
        ({"uri": [uri], "scenes": [1]}, r"columns of the names scenes already"),
        ({"uri": [uri], "status": [1]}, r"columns of the names status already"),
        ({"uri": [7]}, r"`column='uri'` holds 7, which is no path"),
        ({"uri": [b"a.mp4"]}, r"`column='uri'` holds b'a.mp4'"),
    ):
        with pytest.raises(UsageError, match=said):
            list(extractor(batch))


def test_arguments_are_those_of_the_main_job() -> None:
    for asked, said in (
        ({"sampel": "all"}, r"unknown argument sampel='all'; did you mean sample"),
        ({"threads": "two"}, r"threads='two' is not a whole number of 0 or more"),
        ({"ops": ["duplicates"]}, r"'duplicates' looks at all files at once"),
        ({"sources": "a.mp4"}, r"unknown argument sources='a.mp4': files come from the dataset"),
        ({"address": "10.0.0.1:6379"}, r"`address='10.0.0.1:6379'` has no meaning"),
        ({"actor_gpus": 1}, r"`actor_gpus` is what `framemill.ray.extract` takes"),
    ):
        with pytest.raises(UsageError, match=said):
            Extractor(**asked)


def test_the_first_error_ends_a_strict_one(clips: Path, tmp_path: Path) -> None:
    strict = Extractor(column="file", strict=True, ops=["media"], threads=1)
    try:
        rows = strict(pa.table({"file": [str(clips / "a.mp4"), str(tmp_path / "absent.mp4")]}))
        assert next(rows)["status"][0].as_py() == "ok"
        with pytest.raises(FramemillError, match=r"absent\.mp4: .*No such file.*strict"):
            next(rows)
    finally:
        strict.close()


def test_rows_that_are_too_large_for_one_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plan = plan_in_memory(ExtractRequest(sources=(), output="", ops=("scenes", "audio_levels")))
    scene = ("id", 0, 0.0, 1.0, 0, 10, "cut", 1.0)
    names = table_schema("scenes").names
    scenes = pa.Table.from_pylist([dict(zip(names, scene, strict=True))] * 3, table_schema("scenes"))
    found = SourceTables(
        "id", {"scenes": scenes, "audio_levels": table_schema("audio_levels").empty_table()}, ()
    )
    whole = stage.result_row("/a.mp4", found, plan)
    assert len(whole["scenes"][0]) == 3 and whole["status"].to_pylist() == ["ok"]
    monkeypatch.setattr(stage, "MOST_ROW_BYTES", scenes.nbytes - 1)
    refused = {
        name: column.to_pylist()[0] for name, column in stage.result_row("/a.mp4", found, plan).items()
    }
    assert refused["scenes"] is None and refused["status"] == "failed" and refused["source_id"] == "id"
    assert f"{scenes.nbytes} of them in scenes" in refused["error"] and "`output`" in refused["error"]


@pytest.mark.parametrize(
    ("nodes", "asked", "runs_models", "each"),
    [
        ([{"CPU": 1.0}], {}, True, (0.5, 0.0)),
        ([{"CPU": 2.0}, {"CPU": 2.0}], {}, True, (1.0, 0.0)),
        ([{"CPU": 96.0}], {}, True, (4.0, 0.0)),
        ([], {}, True, (1.0, 0.0)),
        ([{"CPU": 96.0, "GPU": 8.0}], {}, True, (11.0, 1.0)),
        ([{"CPU": 96.0, "GPU": 8.0}], {}, False, (4.0, 0.0)),
        ([{"CPU": 96.0, "GPU": 8.0}], {"actor_gpus": 0.0}, True, (4.0, 0.0)),
        ([{"CPU": 96.0, "GPU": 8.0}], {"actors_per_gpu": 2}, True, (5.0, 0.5)),
        ([{"CPU": 4.0}], {"actor_cpus": 4.0}, True, (4.0, 0.0)),
    ],
)
def test_what_each_actor_holds(
    nodes: list[dict[str, float]], asked: dict[str, Any], runs_models: bool, each: tuple[float, float]
) -> None:
    assert plan_each(ExtractRequest(sources=(), output="", **asked), nodes, runs_models) == each


def test_gpus_that_are_not_there_are_refused_unless_nodes_may_come() -> None:
    request = ExtractRequest(sources=(), output="", actor_gpus=1.0)
    with pytest.raises(SetupError, match=r"each actor wants 1 GPUs, and the cluster has 0: .*`actor_gpus=0`"):
        plan_each(request, [{"CPU": 8.0}], True)
    assert plan_each(request, [{"CPU": 8.0}], True, is_growing=True)[1] == 1.0


@pytest.mark.slow
def test_the_lines_for_hugging_face_datasets(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "ray-data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from datasets .*?)```", page, flags=re.DOTALL)
    extract(clips, out=tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    there: dict[str, Any] = {}
    exec(code, there)
    assert _sorted(list(there["frames"])) == _sorted(rows_of(tmp_path / "out", "frames"))


@pytest.mark.cluster
@pytest.mark.slow
def test_a_pipeline_decodes_each_file_once_however_many_tables_are_consumed(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "openings"
    patch_worker(monkeypatch, tmp_path, COUNT)
    names = [f"{number}.mp4" for number in range(4)]
    for seed, name in enumerate(names):
        render_clip(tmp_path / name, seed=seed, seconds=2.0, with_sound=False)
    uris: list[str | None] = [*(str(tmp_path / name) for name in names), None, str(tmp_path / "absent.mp4")]
    variables = {"OPENINGS": str(log)}
    with small_ray(patch=tmp_path / "patch", environment=variables):
        rows = ray.data.from_items([{"uri": uri, "number": number} for number, uri in enumerate(uris)])
        with pytest.raises(UsageError, match="no such column; they have uri, number"):
            framemill.ray.extract(rows, column="path", ops=["scenes"])
        with pytest.raises(UsageError, match=r"no ray\.data\.Dataset"):
            framemill.ray.extract([{"uri": "a"}])
        asked: dict[str, Any] = {"ops": ["media", "frames", "scenes"], "actors": "2", "actor_cpus": 1.0}
        found = framemill.ray.extract(rows, **asked)
        assert not log.exists(), "nothing runs before it is asked for"
        kept = found.materialize()
        told = Counter(log.read_text().splitlines())
        assert told == {f"{kind} {name}": 1 for kind in ("open", "decode") for name in names}
        statuses = {
            row["number"]: row["status"] for row in kept.select_columns(["number", "status"]).take_all()
        }
        assert statuses == {0: "ok", 1: "ok", 2: "ok", 3: "ok", 4: "failed", 5: "failed"}
        tables = {
            op: [each for row in kept.select_columns([op]).take_all() for each in row[op] or ()]
            for op in ("media", "frames", "scenes")
        }
        assert Counter(log.read_text().splitlines()) == told

        before = ray.data.DataContext.get_current().execution_no_progress_timeout_s
        out = tmp_path / "out"
        folder = framemill.ray.extract(rows, output=out, **asked)
        assert set(folder) == {"errors", "frames", "media", "runs", "scenes"}
        for op, rows_here in tables.items():
            assert _sorted(_rows(folder[op])) == _sorted(rows_here), op
        assert [row["uri"] for row in _rows(folder["errors"])] == [str(tmp_path / "absent.mp4")]
        assert ray.data.DataContext.get_current().execution_no_progress_timeout_s == before
        with pytest.raises(FramemillError, match=r"absent\.mp4"):
            framemill.ray.extract(rows, output=out, strict=True, **asked)


def _rows(dataset: Any) -> list[dict[str, Any]]:
    tables = [ray.get(ref) for ref in dataset.to_arrow_refs()]
    return pa.concat_tables(tables).to_pylist()


@pytest.mark.cluster
@pytest.mark.slow
def test_the_example_of_the_page_on_two_machines(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no media")
    files = [*map(str, sorted(clips.iterdir())), str(tmp_path / "text.mp4")]
    environment = {"PYTHONPATH": str(PROJECT)}
    with machines(2, 2, environment=environment) as cluster:
        run = cluster.submit(tmp_path / "shots", *files, program=("docs/shots_of_clips.py",))
        said = finish(run)
        assert run.returncode == 0 and "3 of 4 clips" in said, said
    shots = pq.read_table(tmp_path / "shots").to_pylist()
    assert {row["uri"] for row in shots} == set(files[:3])
    for row in shots:
        assert row["start_seconds"] <= row["best_at_seconds"] < row["end_seconds"]
        assert row["picture"].startswith(b"\xff\xd8")
