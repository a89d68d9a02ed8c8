"""Operations from outside on Ray: found by every process of a run, and asked for on each node before it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

import ray

from framemill.cluster.engines.ray.pools import Pool
from framemill.cluster.engines.ray.preflight import check_workers, code_digest
from framemill.cluster.results.dataset import Dataset
from framemill.errors import SetupError
from framemill.plugins import Plugin
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import small_ray
from tests.cluster.extraction import num_runs, render_clip, rows_of, tables_of
from tests.operation_pages import python_blocks, render_dark_then_bright, write_demucs, write_videomae
from tests.plugged import SCRIPT, example, run, succeed
from tests.test_plugins import table_op

pytestmark = pytest.mark.cluster


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the example, an operation that reads its rows, and a short and a divided clip."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "darkness.py").write_text(example())
    (folder / "counting.py").write_text(table_op("counted", "Counted", after=("darkness",)))
    (folder / "ray.py").write_text("raise SystemExit('ray.py of the user was imported')\n")
    (folder / "clips").mkdir()
    render_clip(folder / "clips" / "short.mp4", seed=1, seconds=2.0)
    render_clip(folder / "clips" / "long.mkv", seed=2, seconds=11.0)
    return folder


@pytest.mark.slow
def test_the_example_on_a_ray_that_is_started_here(project: Path) -> None:
    ops = "media,darkness:Darkness,counting:Counted"
    line = ("extract", "clips", "--ops", ops, "--set", "darkness.below=60")
    divided(project / "out"), divided(project / "local")
    succeed(project, SCRIPT, *line, "-o", "out", "--engine", "ray")
    assert {row["engine"] for row in rows_of(project / "out", "runs")} == {"ray"}
    succeed(project, SCRIPT, *line, "-o", "local")
    tables = tables_of(project / "out")
    assert tables == tables_of(project / "local")
    assert len(tables["darkness"]) == 13 and {row["count"] for row in tables["counted"]} == {2, 11}
    again = succeed(project, SCRIPT, *line, "-o", "out", "--engine", "ray")
    assert "2 already there" in again.stdout and num_runs(project / "out") == 1
    with (project / "darkness.py").open("a") as file:
        file.write("# another thought\n")
    refused = run(project, SCRIPT, *line, "-o", "out", "--engine", "ray")
    assert refused.returncode == 2 and "'darkness' was made differently: module is" in refused.stderr


@pytest.mark.slow
def test_operations_with_models_of_their_own_make_the_same_rows_there(tmp_path: Path) -> None:
    (tmp_path / "stems.py").write_text(python_blocks("stems.md")[0])
    (tmp_path / "actions.py").write_text(python_blocks("actions.md")[0])
    (tmp_path / "actions.txt").write_text("hiding\nwalking\nwaving\nrunning\n")
    write_demucs(tmp_path / "demucs.onnx")
    write_videomae(tmp_path / "videomae.onnx")
    render_dark_then_bright(tmp_path / "clip.mkv")
    line = ("extract", "clip.mkv", "--sample", "every:0.5", "--images")
    ops = ("--ops", "media,stems:Stems,actions:Actions", "--set", "stems.keep=drums")
    own = ("--model", "stems=demucs.onnx", "--model", f"actions={tmp_path}/videomae.onnx")
    succeed(tmp_path, SCRIPT, *line, *ops, *own, "-o", "out", "--engine", "ray")
    succeed(tmp_path, SCRIPT, *line, *ops, *own, "-o", "local")
    tables = tables_of(tmp_path / "out")
    assert tables == tables_of(tmp_path / "local")
    assert len(tables["stems"]) == 4 and len(tables["actions"]) == 6


@pytest.mark.slow
def test_a_node_that_lacks_a_module_or_has_another_is_named_before_any_work(project: Path) -> None:
    root = Dataset.open(project / "out", create=True, constants={"shard_seconds": 600.0}).root
    pool = Pool({"size": 1}, 1.0, 0.0, calls=1, threads=1)
    lacking = Plugin("darkness", "darkness:Darkness", "0" * 32, "/no/such/folder")
    other = Plugin("darkness", "darkness:Darkness", "0" * 32, str(project))
    with small_ray():
        with pytest.raises(SetupError, match=r"No module named 'darkness'.*on node .*--working-dir"):
            check_workers(root, pool, ray.nodes(), {}, [lacking], "run", code_digest(), str)
        with pytest.raises(SetupError, match=r"differs from the one in .*on node .*install it on every node"):
            check_workers(root, pool, ray.nodes(), {}, [other], "run", code_digest(), str)
        check_workers(root, pool, ray.nodes(), {}, [], "run", code_digest(), str)
