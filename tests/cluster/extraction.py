"""Small clips, runs of the main job over them, and what the tables then hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster.extraction import run_extract
from framemill.cluster.request import ExtractRequest, RunSummary, SilentReporter
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run import sandbox_plan

FPS = 12
RATE = 16_000
SHOT_FRAMES = 18
PROJECT = Path(__file__).resolve().parents[2]
# Cheap, and one of each kind: the index, sampled frames, signals, sound.
OPS = ("media", "frames", "scenes", "audio_levels")


class RecordingReporter(SilentReporter):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, level: int, text: str) -> None:
        self.said.append(text)


def render_clip(
    path: Path,
    *,
    seed: int,
    seconds: float = 4.0,
    size: tuple[int, int] = (128, 96),
    with_picture: bool = True,
    with_sound: bool = True,
) -> Path:
    """Writes a clip of shots of a second and a half with a key frame a second, and a warbling tone."""
    rng = np.random.default_rng(seed)
    width, height = size
    with av.open(str(path), "w") as container:
        if with_picture:
            options = {"preset": "ultrafast", "crf": "25", "threads": "1"}
            video = container.add_stream("libx264", rate=FPS, options=options)
            video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", FPS
        if with_sound:
            audio = container.add_stream(
                "flac" if path.suffix == ".flac" else "aac", rate=RATE, layout="mono"
            )
        if with_picture:
            for index in range(round(seconds * FPS)):
                if index % SHOT_FRAMES == 0:
                    shot = rng.integers(0, 256, (6, 8, 3)).repeat(height // 6, 0).repeat(width // 8, 1)
                picture = np.roll(shot, index, axis=1).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if with_sound:
            time = np.arange(round(seconds * RATE)) / RATE
            wave = 0.5 * np.sin(2 * np.pi * (200 + 40 * seed) * time) * (0.6 + 0.4 * np.sin(5 * time))
            samples = (wave * 32767).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
            resampler = av.AudioResampler(format=audio.format, layout="mono", rate=RATE)
            for piece in [*resampler.resample(sound), *resampler.resample(None)]:
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def extract(
    *sources: Path | str, out: Path, reporter: SilentReporter | None = None, **asked: Any
) -> RunSummary:
    """Runs the main job in this process, with the cheap operations unless others are named."""
    request = ExtractRequest(
        sources=tuple(map(str, sources)), output=str(out), **{"ops": OPS, "threads": 2, **asked}
    )
    return run_extract(request, reporter)


def command(*arguments: Path | str, ops: Sequence[str] = OPS, **popen: Any) -> subprocess.Popen[str]:
    """Starts `extract` as a person would, in a session of its own."""
    line = [sys.executable, "-m", "framemill", "extract", *map(str, arguments), "--ops", ",".join(ops)]
    return subprocess.Popen(
        line,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **popen,
    )


def patch_worker(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Runs some code at the start of every worker that is started from now on, before anything else.

    It may write into `folder`, where tests let it leave marks, though the worker's sandbox has no such place.
    """
    patch = folder / "patch"
    patch.mkdir()
    body = "".join(f"    {line}\n" for line in code.splitlines())
    (patch / "sitecustomize.py").write_text(
        f"import sys\nif 'framemill.cluster.engines.local.worker' in sys.orig_argv:\n{body}"
    )
    monkeypatch.setenv("PYTHONPATH", str(patch))
    monkeypatch.setenv("FRAMEMILL_SANDBOX_ALLOW", str(folder))  # for those that start the command
    real = sandbox_plan._allowed
    monkeypatch.setattr(sandbox_plan, "_allowed", lambda request: [*real(request), os.fsencode(folder)])


def six_alike(folder: Path, clip: Path) -> Path:
    """Makes a folder of six files that show the same as `clip`, each with content of its own."""
    folder.mkdir()
    for number in range(6):
        free = b"\0\0\0\x08free" * (40 * number)
        (folder / f"{number}.mp4").write_bytes(clip.read_bytes() + free)
    return folder


def check_only(guilty: Mapping[str, str], folder: Path, out: Path) -> None:
    """All clips of `folder` but the guilty are computed, and the same command computes nothing.

    Args:
        guilty: the status in `errors` of each file that has one.
    """
    assert failures(out) == {(name, "*"): status for name, status in guilty.items()}
    innocent = {path.name for path in folder.glob("*.mp4")} - set(guilty)
    assert statuses(out) == dict.fromkeys(innocent, "ok")
    extract(*(folder / name for name in innocent), out=out.with_name("undisturbed"))
    undisturbed = tables_of(out.with_name("undisturbed"))
    assert {**tables_of(out), "errors": []} == {**undisturbed, "errors": []}
    again = extract(folder, out=out)
    assert (again.files_computed, again.exit_code) == (0, 3 if guilty else 0)


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table as a glob finds them, sorted."""
    found = [pq.ParquetFile(path).read() for path in sorted((out / table).glob("*.parquet"))]
    rows = pa.concat_tables(found, promote_options="default").to_pylist() if found else []
    return sorted(rows, key=repr)


def tables_of(out: Path) -> Mapping[str, list[dict[str, Any]]]:
    """Every table but `runs`, and checks that nothing is left half done."""
    dataset = Dataset.open(out, create=False)
    names = {path.name for path in out.iterdir() if path.is_dir() and any(path.glob("*.parquet"))}
    assert names - {"_framemill"} == set(dataset.state.tables())
    system = out / "_framemill"
    assert not (system / "in_flight.json").exists()
    assert not any((system / "partials").glob("*"))
    assert not list(out.glob("*/.part-*"))
    return {name: rows_of(out, name) for name in names - {"runs"}}


def statuses(out: Path) -> dict[str, str]:
    """File name -> status in `media`."""
    return {Path(row["uri"]).name: row["status"] for row in rows_of(out, "media")}


def failures(out: Path) -> dict[tuple[str, str], str]:
    """(file name, operation) -> status in `errors`."""
    return {(Path(row["uri"]).name, row["operation"]): row["status"] for row in rows_of(out, "errors")}


def num_runs(out: Path) -> int:
    """How many runs did some work."""
    return len(rows_of(out, "runs"))
