"""Operations from outside: found, refused, run, resumed, and their results after they are gone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill import plugins
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.queries import CORPUS_TABLES
from framemill.cluster.run.planning import OpsPlan, plan_ops
from framemill.errors import SetupError, UsageError
from framemill.models.registry import OWN_MODELS
from framemill.ops import OPS, PLUGINS, load_op
from framemill.plugins import TAKEN, Plugin, find_plugin, load_plugins, spec_of
from tests.cluster.extraction import num_runs, render_clip, rows_of
from tests.plugged import SCRIPT, blocks, example, run, succeed

ASKED = "media,frames,darkness:Darkness"
FRAMES = ("extract", "clip.mp4", "-o", "out", "--ops", ASKED)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder outside the repository with the example, a clip, and a module of a library's name."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "darkness.py").write_text(example())
    # Whoever searches this folder before the libraries ends here.
    (folder / "duckdb.py").write_text("raise SystemExit('duckdb.py of the user was imported')\n")
    (folder / "blake3.py").write_text("raise SystemExit('blake3.py of the user was imported')\n")
    render_clip(folder / "clip.mp4", seed=1)
    return folder


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Writes a module into the current folder and gives its name, another in each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    kept = [(held, dict(held)) for held in (PLUGINS, plugins._imported, OWN_MODELS, plugins._brought)]
    there = set(sys.modules)

    def write(code: str, name: str = f"theirs_{abs(hash(tmp_path))}") -> str:
        (tmp_path / f"{name}.py").write_text(code)
        return name

    yield write
    for name in set(sys.modules) - there:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    for held, before in kept:
        held.clear()
        held.update(before)


def table_op(name: str, kind: str, after: tuple[str, ...] = ("frames",), extra: str = "") -> str:
    """Code of an operation that counts the rows of those it comes after."""
    return (
        "import pyarrow as pa\n"
        "from framemill.ops.columns import column\n"
        "from framemill.ops.operation import TableOp\n"
        f"class {kind}(TableOp):\n"
        f"    name = {name!r}\n"
        f"    after = {after!r}\n"
        "    schema = pa.schema([column('rank', pa.int64(), 'always 0'),"
        " column('count', pa.int64(), 'rows, >= 0')])\n"
        "    def combine(self, upstream, source):\n"
        f"        return pa.table([[0], [sum(table.num_rows for table in upstream.values())]],"
        f" schema=self.schema)\n{extra}"
    )


def plan(*ops: str, **asked: Any) -> OpsPlan:
    return plan_ops(ExtractRequest(sources=("x",), output="out", ops=ops, **asked), 600.0)


def test_the_example_has_at_most_forty_lines_and_keeps_its_contract(project: Path) -> None:
    assert len(example().splitlines()) <= 40
    (test,) = blocks("Testing it", "python")
    succeed(project, sys.executable, "-c", f"{test}\ntest_darkness()\n")


def test_the_example_by_the_console_script(project: Path) -> None:
    done = succeed(project, SCRIPT, *FRAMES, "--set", "darkness.below=60")
    assert "1 computed" in done.stdout
    rows = rows_of(project / "out", "darkness")
    assert [row["frame_index"] for row in rows] == [
        row["frame_index"] for row in rows_of(project / "out", "frames")
    ]
    assert all(0 <= row["dark_share"] <= 1 for row in rows) and len({row["dark_share"] for row in rows}) > 1
    again = succeed(project, SCRIPT, *FRAMES, "--set", "darkness.below=60")
    assert "1 already there" in again.stdout and num_runs(project / "out") == 1
    told = succeed(project, SCRIPT, "ops", "darkness:Darkness").stdout
    assert "How much of a picture is dark." in told and "brightness under which a pixel is dark" in told
    planned = succeed(project, SCRIPT, "plan", *FRAMES[1:], "--set", "darkness.below=60", "--json").stdout
    assert '"action": "nothing"' in planned


def test_an_edit_of_the_module_is_another_key(project: Path) -> None:
    succeed(project, SCRIPT, *FRAMES)
    before = rows_of(project / "out", "darkness")
    text = (project / "darkness.py").read_text()
    (project / "darkness.py").write_text(text.replace("< self.options", ">= self.options"))
    refused = run(project, SCRIPT, *FRAMES)
    assert refused.returncode == 2
    assert "'darkness' was made differently: module is" in refused.stderr and "--replace" in refused.stderr
    assert "frames" not in refused.stderr.partition("error:")[2].partition("Use")[0]
    succeed(project, SCRIPT, *FRAMES, "--replace")
    after = rows_of(project / "out", "darkness")
    assert [round(row["dark_share"], 4) for row in after] == [
        round(1 - row["dark_share"], 4) for row in before
    ]


def test_the_example_by_the_api_as_a_name_and_as_a_class_from_the_folder_of_a_script(project: Path) -> None:
    (project / "script.py").write_text(
        "import framemill\nfrom darkness import Darkness\n"
        "for op in (Darkness, 'darkness:Darkness'):\n"
        "    summary = framemill.extract('project/clip.mp4', 'out', ops=['media', op])\n"
        "    print(summary.exit_code, summary.files_computed, dict(summary.rows).get('darkness'))\n"
        "print(framemill.open('out').table('darkness').num_rows)\n"
    )
    for name in ("duckdb.py", "blake3.py"):
        (project / name).unlink()  # Python itself searches the folder of a script first
    done = succeed(project.parent, sys.executable, "project/script.py")
    assert done.stdout.split("\n")[:3] == ["0 1 4", "0 0 None", "4"]


def test_an_installed_package_offers_its_operations_by_name(project: Path) -> None:
    (entry,) = blocks("Running it", "toml")
    site = project.parent / "site"
    (site / "darkness-1.0.dist-info").mkdir(parents=True)
    (project / "darkness.py").rename(site / "darkness.py")
    (site / "darkness-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: darkness\nVersion: 1.0\n"
    )
    points = entry.replace('[project.entry-points."framemill.ops"]', "[framemill.ops]").replace('"', "")
    (site / "darkness-1.0.dist-info" / "entry_points.txt").write_text(points)
    found = {"PYTHONPATH": f"{Path(framemill.__file__).parents[1]}:{site}"}
    listed = succeed(project, SCRIPT, "ops", environment=found)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [*OPS, "darkness"]
    by_name = ("extract", "clip.mp4", "-o", "out", "--ops", "media,darkness")
    succeed(project, SCRIPT, *by_name, environment=found)
    assert len(rows_of(project / "out", "darkness")) == 4
    again = succeed(project, SCRIPT, *by_name, environment=found)
    assert "1 already there" in again.stdout
    (site / "darkness.py").write_text("raise RuntimeError('broken')\n")
    listed = succeed(project, SCRIPT, "ops", environment=found)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(OPS)
    assert "left out: operation 'darkness:Darkness': importing darkness failed" in listed.stderr


def test_results_stay_when_the_class_is_gone(project: Path) -> None:
    (project / "rare.py").write_text(table_op("rare", "Rare", after=("darkness",)))
    succeed(project, SCRIPT, *FRAMES[:-1], f"{ASKED},rare:Rare")
    (project / "darkness.py").unlink()
    (project / "rare.py").unlink()
    assert "darkness" in succeed(project, SCRIPT, "status", "out").stdout
    counted = succeed(project, SCRIPT, "sql", "out", "SELECT count(*) AS n FROM darkness", "--json").stdout
    assert '"n": 4' in counted
    results = framemill.open(project / "out")
    assert "darkness" in results.tables() and results.table("darkness").num_rows == 4
    assert results.table("rare").to_pylist()[0]["count"] == 4
    resumed = succeed(project, SCRIPT, *FRAMES[:-1], "media,frames")
    assert "1 already there" in resumed.stdout
    render_clip(project / "other.mp4", seed=2)
    more = succeed(project, SCRIPT, "extract", "clip.mp4", "other.mp4", "-o", "out", "--ops", "media,scenes")
    assert "2 files: 2 computed" in more.stdout
    succeed(project, SCRIPT, "compact", "out")
    assert results.table("darkness").num_rows == 4
    gone = run(project, SCRIPT, *FRAMES)
    assert gone.returncode == 2 and "No module named 'darkness'" in gone.stderr
    assert str(project) in gone.stderr


def test_a_cascade_tells_of_it_even_when_the_class_is_gone(project: Path) -> None:
    line = ("extract", "clip.mp4", "-o", "out", "--sample", "every:0.5", "--ops")
    succeed(project, SCRIPT, *line, "quality,darkness:Darkness", "--cascade", "quality,darkness")
    told = {row["operation"]: row for row in rows_of(project / "out", "recall")}
    assert told.keys() == {"quality", "darkness"} and told["darkness"]["num_candidates"] == 8
    (project / "darkness.py").unlink()
    render_clip(project / "other.mp4", seed=2)
    line = ("extract", "clip.mp4", "other.mp4", *line[2:])
    done = succeed(project, SCRIPT, *line, "quality", "--cascade", "quality")
    assert "darkness looked at" in done.stderr
    assert {row["operation"] for row in rows_of(project / "out", "recall")} == {"quality", "darkness"}


def test_nothing_is_looked_for_until_it_is_needed() -> None:
    code = "import sys, framemill; print('framemill.plugins' in sys.modules, 'pyarrow' in sys.modules)"
    assert succeed(Path.cwd(), sys.executable, "-c", code).stdout.split() == ["False", "False"]
    code = (
        "import importlib.metadata, sys\n"
        "def refuse(**asked): raise SystemExit('entry points were looked for')\n"
        "importlib.metadata.entry_points = refuse\n"
        "from framemill.cluster.request import ExtractRequest\n"
        "from framemill.cluster.run.planning import plan_ops\n"
        "plan_ops(ExtractRequest(sources=('x',), output='out'), 600.0)\n"
    )
    succeed(Path.cwd(), sys.executable, "-c", code)


def test_operations_of_ours_keep_their_keys(module: Callable[..., str]) -> None:
    name = module(table_op("counted", "Counted"))
    made = plan("frames", f"{name}:Counted")
    assert made.ops["frames"].key == plan("frames").ops["frames"].key
    assert "module" not in made.ops["frames"].key
    assert made.ops["counted"].key["module"] == made.plugins[0].digest
    assert list(made.ops) == ["frames", "counted"] and made.added == ()
    assert plan("framemill.ops.frames.frames:FramesOp").ops.keys() == {"frames"}


def test_the_module_is_read_again_after_an_edit(module: Callable[..., str]) -> None:
    name = module(table_op("counted", "Counted"))
    first = plan(f"{name}:Counted").ops["counted"].key
    module(table_op("counted", "Counted", extra="    version = 5\n"))
    second = plan(f"{name}:Counted").ops["counted"].key
    assert (first["version"], second["version"]) == (1, 5)
    assert first["module"] != second["module"] and first["digest"] != second["digest"]
    assert load_op("counted").version == 5


def test_a_package_may_show_a_class_of_one_of_its_modules(module: Callable[..., str]) -> None:
    name = f"{module('')}_package"
    folder = Path.cwd() / name / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("from .blurring import Blur\n")
    (folder / "blurring.py").write_text(table_op("blur", "Blur"))
    shown, direct = find_plugin(f"{name}.inner:Blur"), find_plugin(f"{name}.inner.blurring:Blur")
    assert shown.folder == direct.folder == str(Path.cwd())
    assert shown.digest == direct.digest
    (folder / "blurring.py").write_text(table_op("blur", "Blur", extra="    version = 7\n"))
    assert find_plugin(f"{name}.inner:Blur").digest != shown.digest
    assert load_op("blur").version == 7


def test_a_class_may_stand_in_another(module: Callable[..., str]) -> None:
    name = module(table_op("blur", "Blur") + "class Outer:\n    Inner = Blur\n")
    assert find_plugin(f"{name}:Outer.Inner").name == "blur"
    assert load_op("blur").__name__ == "Blur"


def test_one_may_come_after_another(module: Callable[..., str]) -> None:
    code = table_op("counted", "Counted") + table_op("total", "Total", after=("counted", "frames"))
    name = module(code)
    made = plan(f"{name}:Total", f"{name}:Counted")
    assert list(made.ops) == ["frames", "counted", "total"] and made.added == ("frames",)
    assert made.ops["total"].key["after"].keys() == {"counted", "frames"}
    with pytest.raises(UsageError, match="unknown operation 'counted'"):
        plan(f"{name}:Total")


def test_the_current_folder_is_searched_last(module: Callable[..., str]) -> None:
    name = module(table_op("counted", "Counted"))
    before = list(sys.path)
    find_plugin(f"{name}:Counted")
    assert sys.path == [*before, str(Path.cwd())]


@pytest.mark.parametrize(
    ("spec", "code", "told"),
    [
        (":Blur", "", "write package.module:Class"),
        ("{}:", "", "write package.module:Class"),
        ("{}:Blur:Blur", "", "write package.module:Class"),
        ("{}/blur.py:Blur", "", "write package.module:Class"),
        ("no_such_module:Blur", "", "No module named 'no_such_module'"),
        ("{}:Blur", "def broken(:\n", r"importing .* failed \(SyntaxError"),
        ("{}:Blur", "1 / 0\n", r"importing .* failed \(ZeroDivisionError"),
        ("{}:Blur", "", r"there is no such class in .*theirs_.*\.py"),
        ("{}:Blur", "class Blur: pass\n", "is no operation: derive it from FrameOp"),
        ("{}:Blur", "Blur = 3\n", "there is no such class|is no operation"),
        ("{}:FrameOp", "from framemill.ops.operation import FrameOp\n", "lacks .*: run"),
        ("{}:Blur", table_op("Blur", "Blur"), "name = 'Blur': it names a table"),
        ("{}:Blur", table_op("../blur", "Blur"), "it names a table"),
        ("{}:Blur", table_op("faces", "Blur"), "name = 'faces', which is a table of Framemill's own"),
        ("{}:Blur", table_op("runs", "Blur"), "name = 'runs', which is a table of Framemill's own"),
        ("{}:Blur", table_op("blur", "Blur", extra="    schema = None\n"), "has no attribute schema"),
        ("{}:Blur", table_op("blur", "Blur", extra="    reads = 'all'\n"), "has no attribute reads"),
        ("{}:Blur", table_op("blur", "Blur", extra="    Options = dict\n"), "Options that are no dataclass"),
        ("{}:Blur", table_op("blur", "Blur", after=("blur",)), "'blur' comes after itself"),
        ("{}:Blur", table_op("blur", "Blur", after=("faxes",)), "unknown operation 'faxes'"),
        (
            "{}:Blur",
            "from framemill.ops.operation import Reads\n"
            + table_op("blur", "Blur", after=("scenes",), extra="    reads = Reads.FRAMES\n"),
            "reads frames and comes after 'scenes'",
        ),
    ],
)  # fmt: skip
def test_what_is_no_operation_is_refused(module: Callable[..., str], spec: str, code: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plan(spec.format(module(code)))


def test_two_classes_of_one_name_are_refused(module: Callable[..., str]) -> None:
    name = module(table_op("blur", "Blur") + table_op("blur", "Other"))
    assert len(plan(f"{name}:Blur", f"{name}:Blur").plugins) == 1
    with pytest.raises(UsageError, match="have one name, 'blur'"):
        plan(f"{name}:Blur", f"{name}:Other")


def test_options_of_an_operation_that_does_not_run_are_refused(module: Callable[..., str]) -> None:
    name = module(table_op("blur", "Blur"))
    with pytest.raises(UsageError, match="blur has no option 'radius'"):
        plan(f"{name}:Blur", options={"blur": {"radius": 3}})
    with pytest.raises(UsageError, match=r"unknown operation 'blur'.*package\.module:Class"):
        plan("frames", options={"blur": {"radius": 3}})


def test_every_table_of_ours_is_taken() -> None:
    assert {*CORPUS_TABLES, "errors", "runs", "sources", "spoken"} <= TAKEN and not TAKEN & OPS.keys()


def test_a_class_that_others_cannot_import_is_refused() -> None:
    class Local(load_op("frames")):  # type: ignore[misc]
        """Of this function alone."""

    assert spec_of(load_op("frames")) == OPS["frames"]
    with pytest.raises(UsageError, match="worker processes cannot import"):
        spec_of(Local)
    with pytest.raises(UsageError, match="3 is neither the name of an operation nor a class"):
        framemill.extract("x", "out", ops=[3])  # type: ignore[list-item]


def test_a_process_that_finds_another_module_says_so(module: Callable[..., str]) -> None:
    name = module(table_op("blur", "Blur"))
    found = find_plugin(f"{name}:Blur")
    load_plugins([found])
    with pytest.raises(SetupError, match="differs from the one in"):
        load_plugins([Plugin(found.name, found.spec, "0" * 32, found.folder)])
    with pytest.raises(UsageError, match="No module named 'elsewhere'"):
        load_plugins([Plugin("blur", "elsewhere:Blur", "0" * 32, "/no/such/folder")])


def test_packages_that_offer_one_name_twice_or_another_than_the_class_are_refused(
    module: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(table_op("blur", "Blur"))
    find_plugin(f"{name}:Blur")  # now it is found wherever one is
    offers = [_Entry("blurred", f"{name}:Blur")]
    monkeypatch.setattr(plugins.importlib.metadata, "entry_points", lambda group: offers)
    with pytest.raises(UsageError, match=r"as the operation 'blurred', and its class says name = 'blur'"):
        find_plugin("blurred")
    with pytest.raises(UsageError, match=r"unknown operation 'blured' \(did you mean 'blurred'\?\)"):
        find_plugin("blured")
    with pytest.raises(UsageError, match=r"unknown operation 'zzzz': `framemill ops` lists all"):
        find_plugin("zzzz")
    offers.append(_Entry("blurred", f"{name}:Other"))
    with pytest.raises(UsageError, match=r"offer .*:Blur and .*:Other as the operation 'blurred'"):
        find_plugin("blurred")


class _Entry:
    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value
