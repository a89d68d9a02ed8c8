"""`extract`, `plan` and `probe`: what they hand over, and what they show."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import framemill
from framemill.cluster.cli.main import main
from framemill.cluster.request import ExtractRequest, Reporter, RunSummary, SilentReporter, Snapshot
from tests.cluster.extraction import render_clip

SUMMARY = RunSummary(
    run_id="r1",
    output="out",
    exit_code=0,
    files_total=3,
    files_computed=1,
    files_cached=1,
    files_failed=0,
    files_partial=0,
    files_skipped=2,
    frames=40,
    rows={"media": 1, "frames": 40},
    seconds={"decode": 0.5},
    providers={"objects": "cpu"},
    errors=(),
    elapsed_seconds=2.0,
    files_ok=1,
    files_copies=1,
)
FAILED = replace(
    SUMMARY,
    exit_code=3,
    files_failed=1,
    errors=(
        {
            "uri": "\x1b]0;owned.mp4",
            "operation": "",
            "status": "failed",
            "error": "Corrupt",
            "message": "no header",
        },
    ),
)


class StandIn:
    """Takes the place of the engine and remembers what it was asked."""

    def __init__(self) -> None:
        self.summary = SUMMARY
        self.requests: list[ExtractRequest] = []
        self.reporters: list[Reporter] = []

    def run_extract(self, request: ExtractRequest, reporter: Reporter) -> RunSummary:
        self.requests.append(request)
        self.reporters.append(reporter)
        reporter.message(0, "listing sources")
        reporter.message(1, "a detail")
        reporter.message(-1, "something failed")
        reporter.progress(Snapshot(
            files_done=1, files_total=3, files_failed=0, frames=20, rows=10, media_seconds_done=5.0,
            media_seconds_total=15.0, elapsed_seconds=2.0, stage="extracting",
        ))  # fmt: skip
        return self.summary


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    stand_in = StandIn()
    module: Any = ModuleType("framemill.cluster.extraction")
    module.run_extract = stand_in.run_extract
    monkeypatch.setitem(sys.modules, "framemill.cluster.extraction", module)
    monkeypatch.chdir(tmp_path)
    for name in ("SAMPLE", "OPS", "THREADS"):
        monkeypatch.delenv(f"FRAMEMILL_{name}", raising=False)
    return stand_in


def test_without_options_the_request_has_its_defaults(engine: StandIn) -> None:
    assert main(["extract", "a.mp4", "b", "-o", "out"]) == 0
    assert engine.requests == [ExtractRequest(sources=("a.mp4", "b"), output="out")]


def test_every_option_reaches_the_request(engine: StandIn) -> None:
    command = "extract a.mp4 -o out --ops media,frames --sample every:0.5 --images --set scenes.threshold=3.5"
    command += (
        " --set speech.mode=fast --model objects=yolox_nano --engine local --require-provider cpu --replace"
    )
    command += " --precision fp16 --quality best --retry-failed --keep-bytes 10GB --threads 2 --memory 1GiB"
    command += " --deadline-factor 9 --profile t.json -vv"
    assert main(command.split()) == 0
    assert engine.requests == [
        ExtractRequest(
            sources=("a.mp4",),
            output="out",
            ops=("media", "frames"),
            sample="every:0.5",
            options={"scenes": {"threshold": 3.5}, "speech": {"mode": "fast"}, "frames": {"images": True}},
            models={"objects": "yolox_nano"},
            engine="local",
            require_provider="cpu",
            precision="fp16",
            quality="best",
            replace=True,
            retry_failed=True,
            keep_bytes=10_000_000_000,
            threads=2,
            memory_bytes=1 << 30,
            deadline_factor=9.0,
            profile="t.json",
            verbosity=2,
        )
    ]


def test_flag_beats_variable_beats_file(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("framemill.toml").write_text('sample = "all"\nthreads = 7\nops = ["media"]')
    monkeypatch.setenv("FRAMEMILL_THREADS", "5")
    monkeypatch.setenv("FRAMEMILL_SAMPLE", "scenes")
    main(["extract", "a", "-o", "out", "--sample", "every:1"])
    request = engine.requests[0]
    assert (request.sample, request.threads, request.ops) == ("every:1", 5, ("media",))


@pytest.mark.parametrize(
    "options",
    [
        ["--threads", "x"],
        ["--engine", "cloud"],
        ["--set", "images=1"],
        ["--config", "absent.toml"],
        ["--nonsense"],
    ],
)
def test_bad_options_are_refused_before_any_work(
    engine: StandIn, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["extract", "a", "-o", "out", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert options[0] in err
    assert engine.requests == []


def test_summary_on_stdout_messages_on_stderr(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    main(["extract", "a", "-o", "out"])
    out, err = capsys.readouterr()
    for said in (
        "frames",
        "40",
        "3 files: 1 computed, 1 already there, 1 copies of others; 2 files skipped",
        "ran on cpu",
        "results in out",
    ):
        assert said in out
    assert out.endswith("look at them: framemill report out\n")
    assert err == "listing sources\nsomething failed\n"


def test_quiet_shows_errors_alone_and_verbose_shows_details(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["extract", "a", "-o", "out", "-q"])
    assert capsys.readouterr() == ("", "something failed\n")
    main(["extract", "a", "-o", "out", "-v"])
    assert "a detail" in capsys.readouterr().err


def test_json_is_the_summary_and_the_exit_code_is_the_runs(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.summary = FAILED
    assert main(["extract", "a", "-o", "out", "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == {"media": 1, "frames": 40}
    assert printed["errors"][0]["message"] == "no header"
    assert set(printed) == set(RunSummary.__slots__)


def test_failures_are_listed_without_their_control_characters(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.summary = FAILED
    assert main(["extract", "a", "-o", "out"]) == 3
    out = capsys.readouterr().out
    assert "1 failed" in out
    assert "no header" in out
    assert "\x1b" not in out


def test_plan_and_probe_hand_over_and_show(
    engine: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def plan_sources(request: ExtractRequest) -> dict[str, Any]:
        seen.append(request)
        return {
            "num_shards": 4,
            "media_bytes": 2_000_000,
            "seconds_expected": 90.0,
            "expected_from": "2 earlier runs here",
            "operations": [{"name": "frames", "shards": 4}],
            "none": [],
        }

    def probe_sources(sources: tuple[str, ...], *others: Any) -> list[dict[str, Any]]:
        seen.append(sources)
        return [{"uri": "a.mp4", "width": 640}, {"uri": "b.wav", "streams": ["audio", "text"]}]

    module: Any = ModuleType("framemill.cluster.inspection")
    module.plan_sources, module.probe_sources = plan_sources, probe_sources
    monkeypatch.setitem(sys.modules, "framemill.cluster.inspection", module)

    assert main(["plan", "a.mp4", "-o", "out", "--sample", "all"]) == 0
    assert seen == [ExtractRequest(sources=("a.mp4",), output="out", sample="all")]
    out = capsys.readouterr().out
    for said in (
        "shards",
        "4",
        "media",
        "2.0 MB",
        "operations",
        "name",
        "frames",
        "about 1:30, by 2 earlier",
    ):
        assert said in out
    assert main(["plan", "a.mp4", "-o", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_shards"] == 4

    assert main(["probe", "a.mp4", "b.wav"]) == 0
    columns, first, _ = capsys.readouterr().out.splitlines()
    assert columns.split("\t") == ["file", "length", "picture", "fps", "sound", "size", "note"]
    assert first.split("\t")[0] == "a.mp4"
    assert main(["probe", "a.mp4", "b.wav", "--wide"]) == 0
    assert seen[-1] == ("a.mp4", "b.wav")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["uri", "width", "streams"]
    assert lines[3].split() == ["b.wav", "audio,", "text"]
    assert main(["probe", "a.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"uri": "a.mp4", "width": 640}


def test_the_python_api_asks_for_the_same(engine: StandIn) -> None:
    done = framemill.extract(
        Path("a.mp4"), Path("out"), ops=["frames"], options={"frames": {"images": True}}, threads=2
    )
    assert done is SUMMARY
    expected = ExtractRequest(
        sources=("a.mp4",), output="out", ops=("frames",), options={"frames": {"images": True}}, threads=2
    )
    assert engine.requests == [expected]
    assert isinstance(engine.reporters[0], SilentReporter)


def test_a_wrong_path_makes_no_folder_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", str(tmp_path / "absent.mp4"), "-o", str(tmp_path / "out")]) == 4
    told = capsys.readouterr()
    assert "no such file" in told.out and "results in" not in told.out
    assert list(tmp_path.iterdir()) == []


def test_results_do_not_go_among_their_sources(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(clips.rglob("*"))
    assert main(["extract", str(clips), "-o", str(clips)]) == 2
    assert "is the output folder itself" in " ".join(capsys.readouterr().err.split())
    assert sorted(clips.rglob("*")) == before


def test_the_counts_of_the_summary_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    render_clip(clips / "a.mp4", seed=1)
    (clips / "b.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (clips / "broken.mp4").write_bytes(b"no video" * 50)
    (clips / "notes.txt").write_text("mine")
    out = str(tmp_path / "out")
    assert main(["extract", str(clips), "-o", out, "--ops", "media,frames"]) == 3
    said = capsys.readouterr().out
    assert "3 files: 1 computed, 1 failed, 1 copies of others; 1 file skipped (no media)" in said
    render_clip(clips / "c.mp4", seed=2)
    (clips / "d.mp4").write_bytes((clips / "a.mp4").read_bytes())
    assert main(["extract", str(clips), "-o", out, "--ops", "media,frames"]) == 3
    said = capsys.readouterr().out
    assert "5 files: 1 computed, 2 already there, 1 failed, 1 copies of others;" in said
