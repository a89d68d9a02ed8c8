"""The sandbox of the worker: a library tries to get out of it, layer by layer; and what stays possible."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from framemill.cluster.machine import visible_gpus
from framemill.cluster.run import sandbox as sandbox_module
from framemill.errors import SetupError
from tests.cluster.extraction import RecordingReporter, extract, patch_worker, render_clip, rows_of, statuses
from tests.plugged import SCRIPT, run, succeed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

# An operation that tries what the library does, in the process that decodes, and tells what came of it.
ESCAPING = '''
"""Tries to get out."""

import ctypes
import json
import os
from pathlib import Path

import pyarrow as pa

from framemill.ops.chunks import Frames
from framemill.ops.columns import column
from framemill.ops.operation import FrameOp


class Escaping(FrameOp):
    """What each attempt gave: 0 or the number of an error."""

    name = "escaping"
    schema = pa.schema([
        column("frame_index", pa.int64(), "frame"), column("pts_seconds", pa.float64(), "time"),
        column("attempt", pa.string(), "which"), column("result", pa.int64(), "errno"),
    ])

    def run(self, frames: Frames, upstream: object) -> pa.Table:
        library = ctypes.CDLL(str(Path(__file__).with_name("escape.so")))
        rows = []
        for name, function, given in json.loads(os.environ["ESCAPES"]):
            result = getattr(library, function)(given.encode() if isinstance(given, str) else given)
            rows.append((int(frames.frame_index[0]), float(frames.pts_seconds[0]), name, result))
        return pa.table([list(column) for column in zip(*rows)], schema=self.schema)
'''
ATTEMPTS = {
    "network": ("connects", "makes a local socket"),
    "reads": ("reads a key",),
    "writes": ("writes outside", "cuts short", "removes"),
    "calls": ("leaves the namespace", "watches the supervisor"),
    "limits": ("opens many files", "writes a huge file", "reserves memory"),
}


@pytest.fixture(scope="session")
def layers() -> dict[str, str]:
    """What `framemill doctor` says of each layer here; empty where it holds."""
    done = subprocess.run(
        [sys.executable, "-m", "framemill", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    checks = [each for each in json.loads(done.stdout) if each["check"].startswith("sandbox ")]
    return {
        each["check"].removeprefix("sandbox "): each["detail"] if each["status"] != "ok" else ""
        for each in checks
    }


def require(layers: dict[str, str], layer: str) -> None:
    if why := layers[layer]:
        pytest.skip(f"the layer {layer} does not hold here: {why}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the operation, the library and a clip; beside it a home with a key, and other files."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc), which builds the library that tries")
    folder = tmp_path_factory.mktemp("sandbox") / "place"
    folder.mkdir()
    source = Path(__file__).with_name("escape.c")
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "escape.so"), str(source)]
    subprocess.run(command, check=True, timeout=60)
    (folder / "escaping.py").write_text(ESCAPING)
    render_clip(folder / "clip.mp4", seed=1, seconds=1.0)
    for name in ("home/.ssh/id_ed25519", "other/letter.txt", "other/spare.txt", "allowed/letter.txt"):
        (folder.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / name).write_text("mine alone")
    return folder


def tried(place: Path, *flags: str) -> dict[str, int]:
    """What each attempt gave within a run; 0 where it succeeded."""
    beside, out = place.parent, f"out-{len(list(place.iterdir()))}"
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        attempts = [
            ("connects", "connect_to", server.getsockname()[1]),
            ("makes a local socket", "make_socket", int(socket.AF_UNIX)),
            ("reads a key", "read_file", str(beside / "home" / ".ssh" / "id_ed25519")),
            ("writes outside", "write_file", str(beside / "other" / "new.txt")),
            ("cuts short", "cut_file", str(beside / "other" / "letter.txt")),
            ("removes", "remove_file", str(beside / "other" / "spare.txt")),
            ("leaves the namespace", "own_namespace", 0),
            ("watches the supervisor", "watch_parent", 0),
            ("opens many files", "open_files", sandbox_module.MOST_OPEN_FILES + 8),
            ("writes a huge file", "grow_file", str(place / out / "grown")),
            ("reserves memory", "reserve", 1 << 14),
            ("reads what is allowed", "read_file", str(beside / "allowed" / "letter.txt")),
            ("writes what is allowed", "write_file", str(beside / "allowed" / "new.txt")),
            ("writes a result", "write_file", str(place / out / "grown")),
        ]
        environment = {"ESCAPES": json.dumps(attempts), "HOME": str(beside / "home")}
        line = ("extract", "clip.mp4", "-o", out, "--ops", "escaping:Escaping", "--sample", "keyframes:1")
        succeed(place, SCRIPT, *line, *flags, environment=environment)
    rows = rows_of(place / out, "escaping")
    assert len(rows) == len(attempts)
    return {row["attempt"]: row["result"] for row in rows}


@pytest.fixture(scope="module")
def caged(place: Path) -> dict[str, int]:
    """What each attempt gave in the sandbox."""
    return tried(place, "--sandbox-allow", str(place.parent / "allowed"))


@pytest.mark.parametrize("layer", ATTEMPTS)
def test_a_library_does_not_get_through_a_layer(
    layer: str, layers: dict[str, str], place: Path, caged: dict[str, int]
) -> None:
    require(layers, layer)
    on_devices = {"makes a local socket", "reserves memory"} if visible_gpus() else set()
    results = {attempt: caged[attempt] for attempt in ATTEMPTS[layer] if attempt not in on_devices}
    assert all(results.values()), results
    if layer == "writes":
        assert (place.parent / "other" / "letter.txt").read_text() == "mine alone"
        assert (place.parent / "other" / "spare.txt").exists()
        assert not (place.parent / "other" / "new.txt").exists()


def test_results_and_what_is_allowed_may_be_read_and_changed(place: Path, caged: dict[str, int]) -> None:
    assert {name: result for name, result in caged.items() if "allowed" in name or "result" in name} == {
        "reads what is allowed": 0,
        "writes what is allowed": 0,
        "writes a result": 0,
    }
    assert (place.parent / "allowed" / "new.txt").exists()


def test_without_the_sandbox_the_library_does_what_it_likes(place: Path, caged: dict[str, int]) -> None:
    found = tried(place, "--sandbox", "off")
    outside = [name for layer, names in ATTEMPTS.items() if layer != "limits" for name in names]
    # Whether a process may watch its parent is also up to the machine, outside of any sandbox.
    assert not any(found[name] for name in outside if name != "watches the supervisor"), found
    assert not (place.parent / "other" / "spare.txt").exists()


def test_an_operation_that_is_kept_away_says_what_helps(place: Path, layers: dict[str, str]) -> None:
    require(layers, "reads")
    (place / "reading.py").write_text(
        ESCAPING.replace("class Escaping", "class Reading")
        .replace('"escaping"', '"reading"')
        .replace("library =", f"open({str(place.parent / 'other' / 'letter.txt')!r}); library =")
    )
    done = run(place, SCRIPT, "extract", "clip.mp4", "-o", "reading", "--ops", "media,reading:Reading")
    assert done.returncode == 3, done.stderr
    (row,) = rows_of(place / "reading", "errors")
    assert row["error"] == "PermissionError" and "sandbox_allow" in row["message"]


def test_files_of_a_folder_are_read_wherever_their_links_lead(tmp_path: Path) -> None:
    for folder in ("videos", "elsewhere", "named"):
        (tmp_path / folder).mkdir()
    render_clip(tmp_path / "videos" / "plain.mp4", seed=1, seconds=1.0)
    render_clip(tmp_path / "elsewhere" / "far.mp4", seed=2, seconds=1.0)
    render_clip(tmp_path / "named" / "one.mp4", seed=3, seconds=1.0)
    (tmp_path / "videos" / "link.mp4").symlink_to(tmp_path / "elsewhere" / "far.mp4")
    summary = extract(tmp_path / "videos", tmp_path / "named" / "o*.mp4", out=tmp_path / "out")
    assert summary.exit_code == 0
    assert statuses(tmp_path / "out") == dict.fromkeys(("plain.mp4", "link.mp4", "one.mp4"), "ok")


def test_what_holds_is_told_once_and_to_all_only_where_something_lacks(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reporter(RecordingReporter):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[int, str]] = []

        def message(self, level: int, text: str) -> None:
            self.told += [(level, text)] if text.startswith("sandbox") else []

    lacking = "import framemill.cluster.run.sandbox_kernel as kernel\ndef refuse(*_, **__):\n"
    lacking += "    raise OSError(38, 'no such thing here')\nkernel.landlock_version = refuse"
    patch_worker(monkeypatch, tmp_path, lacking)
    reporter = Reporter()
    assert extract(clips, out=tmp_path / "out", reporter=reporter).exit_code == 0
    ((level, text),) = reporter.told
    assert level == 0 and "not reads, writes: Landlock: no such thing here" in text
    with pytest.raises(SetupError, match=r"no such thing here.*sandbox='auto'"):
        extract(clips, out=tmp_path / "strict", sandbox="strict")
    assert not list((tmp_path / "strict").glob("media/*"))
    reporter = Reporter()
    extract(clips, out=tmp_path / "off", reporter=reporter, sandbox="off")
    assert [level for level, text in reporter.told if "off" in text] == [0]


def test_a_strict_run_with_all_layers_makes_the_same_rows(
    clips: Path, tmp_path: Path, layers: dict[str, str]
) -> None:
    if any(layers.values()):
        pytest.skip(f"not all layers hold here: {layers}")
    extract(clips, out=tmp_path / "strict", sandbox="strict")
    extract(clips, out=tmp_path / "off", sandbox="off")
    for table in ("media", "frames", "scenes", "audio_levels"):
        assert rows_of(tmp_path / "strict", table) == rows_of(tmp_path / "off", table)


def test_the_supervisor_and_this_process_stay_free() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    assert ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 0
    assert os.listdir("/")
