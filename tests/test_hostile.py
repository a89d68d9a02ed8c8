"""Hostile inputs cost one row each; nothing but the named file is ever read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from benchmarks.sample_clip import render_sample
from framemill.actors.safe_open import open_media
from framemill.errors import MediaError
from tests.hostile import HOSTILE, Canary, Fate, Material, canary_server, write_hostile

REPOSITORY = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 120
# Names that have broken programs before; each is a sound clip.
ODD_NAMES = (
    "-leading-dash.mp4",
    "new\nline.mp4",
    "blank and 'quote\".mp4",
    "日本語 é😀.mp4",
    "$(touch x);%s{}.mp4",
)
CANARY_SIZE = (222, 122)
POSING = sorted(
    name for name in HOSTILE if name.split(".")[0] in ("playlist", "concat", "session", "manifest", "address")
)


@dataclass(frozen=True)
class Outcome:
    folder: Path
    output: Path
    exit_code: int
    stderr: str
    canary: Canary

    def table(self, name: str) -> list[dict[str, object]]:
        folder = self.output / name
        if not folder.is_dir():
            return []
        table: pa.Table = ds.dataset(folder, format="parquet", exclude_invalid_files=True).to_table()
        return table.to_pylist()

    def names(self, name: str) -> Counter[str]:
        return Counter(Path(str(row["uri"])).name for row in self.table(name))


def extract(*arguments: str | Path) -> tuple[int, str]:
    """Runs the command line with a deadline; (exit code, stderr)."""
    command = [sys.executable, "-m", "framemill", "extract", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "FRAMEMILL_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"still running after {TIMEOUT_SECONDS} s: {command}")
    return process.returncode, stderr


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    folder = tmp_path_factory.mktemp("material")
    render_sample(folder / "clip.mp4", seconds=4, width=320, height=180)
    render_sample(folder / "canary.mp4", seconds=3, width=CANARY_SIZE[0], height=CANARY_SIZE[1])
    with canary_server(folder / "canary.mp4") as canary:
        yield Material(folder / "clip.mp4", canary)


@pytest.fixture(scope="module")
def outcome(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("hostile") / "in"
    folder.mkdir()
    write_hostile(folder, material)
    for name in ODD_NAMES:
        (folder / name).write_bytes(material.clip.read_bytes())
    output = folder.parent / "out"
    code, stderr = extract(folder, "-o", output)
    return Outcome(folder, output, code, stderr, material.canary)


def fated(*fates: Fate) -> list[str]:
    return sorted(name for name, (fate, _) in HOSTILE.items() if fate in fates)


def test_the_run_says_that_some_failed(outcome: Outcome) -> None:
    assert outcome.exit_code == 3, outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_good_files_beside_them_are_finished(outcome: Outcome) -> None:
    done = Counter(
        row["status"] for row in outcome.table("media") if (row["width"], row["height"]) == (320, 180)
    )
    assert done["ok"] >= len(ODD_NAMES)
    assert not set(ODD_NAMES) & set(outcome.names("errors"))
    # The odd names share one content, so its rows are there once.
    sources = Counter(row["source_id"] for row in outcome.table("frames"))
    assert sources and outcome.table("audio_levels")


@pytest.mark.parametrize("name", fated(Fate.FAILED))
def test_a_bad_file_costs_one_row(outcome: Outcome, name: str) -> None:
    rows = [row for row in outcome.table("errors") if Path(str(row["uri"])).name == name]
    assert len(rows) == 1
    assert rows[0]["status"] in ("failed", "unsupported")
    assert "ok" not in [r["status"] for r in outcome.table("media") if Path(str(r["uri"])).name == name]


@pytest.mark.parametrize("name", fated(Fate.REFUSED))
def test_what_is_no_media_is_skipped_or_costs_one_row(outcome: Outcome, name: str) -> None:
    assert outcome.names("errors")[name] <= 1
    assert "ok" not in [r["status"] for r in outcome.table("media") if Path(str(r["uri"])).name == name]


@pytest.mark.parametrize("name", fated(Fate.PARTIAL))
def test_what_decodes_partly_keeps_its_rows(outcome: Outcome, name: str) -> None:
    (media,) = [row for row in outcome.table("media") if Path(str(row["uri"])).name == name]
    assert media["status"] == "partial"
    assert [row for row in outcome.table("frames") if row["source_id"] == media["source_id"]]


def test_messages_are_for_people(outcome: Outcome) -> None:
    for row in outcome.table("errors"):
        message = str(row["message"])
        assert len(message.split()) >= 3, message
        for jargon in ("Traceback", "Errno", "avcodec", "0x", "()", "NoneType", "assert"):
            assert jargon not in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.mp4", "empty"),
        ("encrypted.mp4", "encrypt"),
        ("large_declared.mov", "16000 x 16000"),
        ("concat.mp4", "playlist"),
    ],
)
def test_reasons_name_the_fault(outcome: Outcome, name: str, words: str) -> None:
    messages = [str(r["message"]) for r in outcome.table("errors") if Path(str(r["uri"])).name == name]
    assert messages and words in messages[0]


def test_nothing_else_was_read(outcome: Outcome) -> None:
    assert outcome.canary.hits == []
    assert CANARY_SIZE not in [(row["width"], row["height"]) for row in outcome.table("media")]
    assert not set(outcome.names("media")) & {outcome.canary.path.name}


def test_only_bad_inputs_named_by_hand(outcome: Outcome, tmp_path: Path) -> None:
    names = [n for n in fated(Fate.FAILED, Fate.REFUSED) if n not in ("folder.mp4", "loop")]
    code, stderr = extract(*(outcome.folder / n for n in names), "-o", tmp_path / "out")
    assert code == 4, stderr
    named = Outcome(outcome.folder, tmp_path / "out", code, stderr, outcome.canary)
    assert named.names("errors") == Counter(names)
    assert outcome.canary.hits == []


def test_a_name_with_nul_is_refused(material: Material, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(os.fsencode(material.clip) + b"\n" + b"x\0y.mp4\n")
    code, stderr = extract(f"@{listed}", "-o", tmp_path / "out")
    assert code in (2, 3), stderr
    assert "Traceback" not in stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_costs_one_row(material: Material, tmp_path: Path) -> None:
    locked = tmp_path / "locked.mp4"
    locked.write_bytes(material.clip.read_bytes())
    locked.chmod(0)
    code, stderr = extract(locked, material.clip, "-o", tmp_path / "out")
    assert code == 3, stderr
    assert Outcome(tmp_path, tmp_path / "out", code, stderr, material.canary).names("errors") == {
        "locked.mp4": 1
    }


@pytest.mark.parametrize("as_object", [False, True], ids=["path", "file object"])
@pytest.mark.parametrize("name", POSING)
def test_posing_files_open_nothing(outcome: Outcome, name: str, as_object: bool) -> None:
    path = outcome.folder / name
    with path.open("rb") as stream, pytest.raises(MediaError):
        open_media(stream if as_object else str(path))
    assert outcome.canary.hits == []


def test_the_canary_sings(material: Material, tmp_path: Path) -> None:
    """Without protection the same playlist does fetch: the tests above can fail."""
    path = tmp_path / "playlist.m3u8"
    HOSTILE["playlist.m3u8"][1](path, material)
    with canary_server(material.canary.path) as watched:
        path.write_text(path.read_text().replace(material.canary.url, watched.url.replace(".ts", ".mp4")))
        options = {
            "protocol_whitelist": "file,http,tcp",
            "extension_picky": "0",
            "allowed_segment_extensions": "ALL",
        }
        with av.open(str(path), options=options):
            pass
        assert watched.hits
