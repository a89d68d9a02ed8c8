"""Captions: what is asked, of whom, how often, and what becomes of the answers."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.caption_prompts import CAPTION_PROMPT
from framemill.cluster.corpus.captions import SIDE_PIXELS, reduced
from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from tests.cluster.corpus.scripted_model import Question, Reply, ScriptedModel, serving
from tests.cluster.results.hand_made import make_folder


def jpeg_of(width: int, height: int) -> bytes:
    _, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))
    return bytes(data)


def folder(root: Path, num_sources: int = 1, num_shots: int = 3, **more: Any) -> Dataset:
    """Sources of shots of a second, with two frames each that the table holds as pictures."""
    seconds = range(num_shots)
    scenes = [
        {"scene_index": n, "start_seconds": n, "end_seconds": n + 1, "start_frame": n * 10,
         "end_frame": n * 10 + 10, "transition": "cut" if n else "start", "score": 0.0}
        for n in seconds
    ]  # fmt: skip
    frames = [
        {"frame_index": n * 10 + 5 * half, "pts_seconds": n + half / 2, "image": jpeg_of(64, 48)}
        for n in seconds
        for half in (0, 1)
    ]
    said = [
        {"segment_index": n, "start_seconds": n, "end_seconds": n + 1, "text": f"word{n}", "language": "en",
         "origin": "speech"}
        for n in seconds
    ]  # fmt: skip
    sources = [f"s{n:02}" for n in range(num_sources)]
    tables: dict[str, dict[str, Any]] = {
        "scenes": {source: scenes for source in sources},
        "frames": {source: frames for source in sources},
        "transcript": {source: said for source in sources},
    }
    lengths = {source: float(num_shots) for source in sources}
    return make_folder(root, {**tables, **more}, durations=lengths)


@pytest.fixture
def out(tmp_path: Path) -> Dataset:
    return folder(tmp_path / "out")


def described(question: Question, number: int) -> Reply:
    if question.is_of_file:
        return Reply(json.dumps({"summary": f"All of it, {number}."}))
    return Reply(json.dumps({"caption": f"A red car, {number}.", "tags": ["car"]}))


def caption(out: Dataset, model: ScriptedModel, *more: str, name: str = "m") -> int:
    line = ["captions", str(out.root), "--address", model.address, "--model", name, *more]
    return main(line)


def rows(out: Dataset, table: str = "captions", columns: str = "*") -> list[Mapping[str, Any]]:
    found = query(out.root, f"SELECT {columns} FROM {table} ORDER BY ALL")
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def broken(out: Dataset) -> list[Broken]:
    found: list[Broken] = []
    check_folder(Dataset.open(out.root, create=False), found.append)
    return [each for each in found if each.table in ("captions", "summaries")]


def test_each_shot_gets_a_caption_and_each_file_a_summary(out: Dataset) -> None:
    with serving(described) as model:
        assert caption(out, model, "--price-in", "2", "--price-out", "10") == 0
    found = rows(out)
    assert [(row["of"], row["scene_index"], row["status"]) for row in found] == [
        ("shot", n, "ok") for n in range(3)
    ]
    assert all(row["text"].startswith("A red car") and row["tags"] == ["car"] for row in found)
    assert [row["frames"] for row in found] == [[0, 5], [10, 15], [20, 25]]
    assert [(row["tokens_in"], row["tokens_out"], row["attempts"]) for row in found] == [(100, 10, 1)] * 3
    assert found[0]["cost"] == pytest.approx(100 * 2 / 1e6 + 10 * 10 / 1e6)
    (summary,) = rows(out, "summaries")
    assert summary["text"].startswith("All of it") and summary["num_captions"] == 3
    assert not broken(out)


def test_a_question_holds_the_pictures_and_what_the_tables_know(out: Dataset) -> None:
    with serving(described) as model:
        caption(out, model)
    of_shots = [question for question in model.asked if not question.is_of_file]
    first = next(question for question in of_shots if "word0" in question.prompt)
    assert "word1" not in first.prompt and len(first.pictures) == 2
    kind, _, content = first.pictures[0].partition(",")
    assert kind == "data:image/jpeg;base64" and base64.b64decode(content) == jpeg_of(64, 48)
    schema = first.body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["caption", "tags"] and first.body["model"] == "m"
    (of_file,) = [question for question in model.asked if question.is_of_file]
    assert all(f"{n}.0 s: A red car" in of_file.prompt for n in range(3))
    assert "Authorization" not in first.headers and first.path == "/v1/chat/completions"


def test_what_has_an_answer_is_not_asked_again(out: Dataset) -> None:
    with serving(described) as model:
        caption(out, model)
        before, asked = rows(out), len(model.asked)
        caption(out, model)
        assert (rows(out), len(model.asked)) == (before, asked)
        caption(out, model, name="other")
        assert len(model.asked) == 2 * asked and {row["model"] for row in rows(out)} == {"other"}


def test_another_prompt_is_another_question(out: Dataset, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("At $start_seconds of $name: {say} $words for $$5")
    with serving(described) as model:
        caption(out, model, "--no-summaries")
        caption(out, model, "--no-summaries", "--prompt", str(prompt))
    assert len(model.asked) == 6
    assert sorted(q.prompt for q in model.asked[3:])[1] == "At 1.0 of s00.mp4: {say} word1 for $5"


@pytest.mark.parametrize("text", ["", "$nothing here", "costs $ 5"])
def test_a_prompt_that_cannot_be_filled_is_refused(
    out: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(text)
    with serving(described) as model:
        assert caption(out, model, "--prompt", str(prompt)) == 2 and not model.asked
    assert "$words" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "error", "attempts"),
    [
        (Reply(status=500), "refused", 2),
        (Reply(status=429, headers={"Retry-After": "0"}), "refused", 2),
        (Reply(status=400, body=b"no \x1b[31msuch model"), "refused", 1),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/v1"}), "refused", 1),
        (Reply("I see a car."), "invalid", 2),
        (Reply('{"caption": 7}'), "invalid", 2),
        (Reply('{"caption": " \\n\\u0000 "}'), "invalid", 2),
        (Reply('{"caption": "' + "x" * 5000 + '"}'), "invalid", 2),
        (Reply('{"caption": "\\ud800'), "invalid", 2),
        (Reply(body=b""), "invalid", 2),
        (Reply(body=b"\xff\xfe"), "invalid", 2),
        (Reply(body=b"[" * 100_000), "invalid", 2),
        (Reply(body=b'{"choices": []}'), "invalid", 2),
        (Reply(body=b'{"choices": [{"message": {"content": null}}]}'), "invalid", 2),
        (Reply(body=b"x" * (3 << 20)), "invalid", 2),
        (Reply(finish="length"), "invalid", 2),
        (Reply(breaks_off=True), "unreachable", 2),
        (Reply(wait=30), "timeout", 2),
        (Reply(drip=0.3), "timeout", 2),
    ],
)
def test_a_bad_answer_is_a_row_that_says_why(
    out: Dataset, reply: Reply, error: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framemill.cluster.corpus.caption_server.PAUSE_SECONDS", 0.01)
    with serving(
        lambda question, number: reply if "word1" in question.prompt else described(question, number)
    ) as model:
        begin = time.monotonic()
        assert caption(out, model, "--attempts", "2", "--timeout", "1") == 3
        assert time.monotonic() - begin < 15
        assert [row["status"] for row in rows(out)] == ["ok", "failed", "ok"]
        row = rows(out)[1]
        assert (row["error"], row["attempts"], row["text"], row["tags"]) == (error, attempts, None, None)
        assert row["message"] and row["message"].isprintable()
        assert rows(out, "summaries")[0]["num_captions"] == 2
        model.script = described
        assert caption(out, model) == 0 and rows(out, "summaries")[0]["num_captions"] == 3
    assert [row["status"] for row in rows(out)] == ["ok"] * 3 and not broken(out)


def test_a_failure_that_passes_costs_an_attempt(out: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framemill.cluster.corpus.caption_server.PAUSE_SECONDS", 0.01)
    with serving(
        lambda q, n: Reply(status=503) if n <= 2 else Reply("not yet") if n == 3 else described(q, n)
    ) as model:
        assert caption(out, model, "--concurrency", "1", "--no-summaries") == 0
    assert [row["attempts"] for row in rows(out)] == [4, 1, 1]
    assert rows(out)[0]["tokens_in"] == 200  # the rubbish is paid for as well
    assert [q.body["temperature"] for q in model.asked[:4]] == [0, 0, 0, 0.5]


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"caption": "A car.", "tags": []}\n```',
        '<think>{"caption": "no"}</think>{"caption": "A  car.\\u0007"}',
        'Here: {"caption": "A\\ncar.", "more": 1}',
    ],
)
def test_json_is_found_in_what_models_put_around_it(out: Dataset, text: str) -> None:
    with serving(lambda *_: Reply(text)) as model:
        caption(out, model, "--no-summaries")
    assert {row["text"] for row in rows(out)} == {"A car."}


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -1, "completion_tokens": "9"}, [1], "x", {"prompt_tokens": 1e99}]
)
def test_counts_that_are_none_are_null(out: Dataset, usage: object) -> None:
    with serving(lambda *_: Reply(usage=usage)) as model:
        assert caption(out, model, "--no-summaries", "--price-in", "1") == 0
    assert {(row["tokens_in"], row["tokens_out"], row["cost"]) for row in rows(out)} == {(None, None, None)}


def test_a_server_that_is_away_costs_rows_and_is_left_alone_after_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder(tmp_path / "many", num_sources=10, num_shots=10)
    with serving(described) as model:
        pass  # it was there, and is gone
    assert caption(out, model, "--attempts", "1", "--concurrency", "4") == 3
    found = rows(out)
    kinds = [row["error"] for row in found]
    assert len(found) == 100 and set(kinds) == {"unreachable", "not_asked"} and kinds.count("not_asked") > 50
    assert {row["attempts"] for row in found if row["error"] == "not_asked"} == {0}
    assert "the rest was not asked" in capsys.readouterr().err


def test_an_answer_stays_until_a_better_one_is_there(out: Dataset) -> None:
    with serving(described) as model:
        caption(out, model)
        before = rows(out)
        model.script = lambda *_: Reply(status=400)
        assert caption(out, model, name="other") == 3
    assert rows(out) == before


def test_so_many_questions_at_a_time_and_no_more(tmp_path: Path) -> None:
    out = folder(tmp_path / "many", num_sources=4, num_shots=10)
    with serving(lambda *_: Reply(wait=0.05)) as model:
        caption(out, model, "--concurrency", "5", "--no-summaries")
    assert model.most_at_once == 5 and len(model.asked) == 40


def test_only_the_shots_of_a_condition_are_asked_about(out: Dataset) -> None:
    with serving(described) as model:
        caption(out, model, "--where", "words = 'word2' -- that one")
        assert [row["scene_index"] for row in rows(out)] == [2]
        caption(out, model, "--where", "scene_index = 0")
        assert [row["scene_index"] for row in rows(out)] == [0, 2]
        assert caption(out, model, "--where", "nonsense") == 2


def test_clips_get_captions_beside_those_of_shots(tmp_path: Path) -> None:
    clips = [
        {"clip_index": n, "start_seconds": n + 0.5, "end_seconds": n + 1.5, "start_frame": n * 10 + 5,
         "end_frame": n * 10 + 15, "scene_index": n, "kept": n != 1, "reason": ""}
        for n in range(2)
    ]  # fmt: skip
    out = folder(tmp_path / "out", clips={"s00": clips})
    with serving(described) as model:
        caption(out, model, "--of", "clips", "--no-summaries")
        assert "word0 word1" in model.asked[0].prompt
        caption(out, model)
    found = [(row["of"], row["clip_index"], row["scene_index"]) for row in rows(out)]
    assert found == [("clip", 0, 0), *(("shot", None, n) for n in range(3))]
    assert [row["frames"] for row in rows(out)][0] == [5, 10]
    assert sorted(row["of"] for row in rows(out, "summaries")) == ["clip", "shot"] and not broken(out)


def test_captions_and_summaries_are_found_by_search(out: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    def script(question: Question, number: int) -> Reply:
        if question.is_of_file:
            return Reply('{"summary": "A zebra crosses."}')
        return Reply(json.dumps({"caption": "A lighthouse." if "word1" in question.prompt else "Fog."}))

    with serving(script) as model:
        caption(out, model)
    capsys.readouterr()
    for words, found in (
        ("lighthouse", ("captions", "caption", 1.0)),
        ("zebra", ("summaries", "summary", 0.0)),
    ):
        assert main(["search", str(out.root), words, "--json"]) == 0
        (hit,) = json.loads(capsys.readouterr().out)
        assert (hit["table"], hit["origin"], hit["pts_seconds"]) == found and hit["by"] == "words"


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    out: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAMEMILL_CAPTIONS_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with serving(lambda *_: Reply(status=401, body=b"who are you")) as model:
        caption(out, model)
        assert {q.headers["Authorization"] for q in model.asked} == {"Bearer sk-secret"}
        model.asked.clear()
        caption(out, model, "--key-from", "OPENAI_API_KEY")
        assert {q.headers["Authorization"] for q in model.asked} == {"Bearer sk-other"}
        assert caption(out, model, "--key-from", "NOT_SET_AT_ALL") == 2
    said = capsys.readouterr()
    stored = b"".join(path.read_bytes() for path in Path(str(out.root)).rglob("*") if path.is_file())
    assert "sk-" not in said.out + said.err and b"sk-secret" not in stored


@pytest.mark.parametrize(
    "address",
    ["localhost:8000", "ftp://h/v1", "http://", "http://u:p@h/v1", "http://h/v1?x=1", "http://h:99999/"],
)
def test_an_address_that_is_none_is_refused(
    out: Dataset, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["captions", str(out.root), "--address", address, "--model", "m"]) == 2
    assert "address" in capsys.readouterr().err


def test_an_address_that_others_can_listen_to_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder(tmp_path / "out", num_shots=1)
    line = ["captions", str(out.root), "--model", "m", "--attempts", "1", "--timeout", "0.2"]
    assert main([*line, "--address", "http://192.0.2.1/v1"]) == 3
    assert "not encrypted" in capsys.readouterr().err
    assert main([*line, "--address", "http://127.0.0.1:9/v1"]) == 3
    assert "not encrypted" not in capsys.readouterr().err
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    assert main([*line, "--address", "https://192.0.2.1/v1"]) == 5


def test_no_proxy_of_the_environment_is_used(out: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(described) as model:
        assert caption(out, model) == 0


def test_a_folder_without_shots_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_folder(tmp_path / "out", {"frames": {"a": []}})
    with serving(described) as model:
        assert caption(out, model) == 2 and not model.asked
    assert "--ops frames,scenes" in capsys.readouterr().err


def test_files_that_are_gone_are_told_of_and_nothing_is_asked(tmp_path: Path) -> None:
    scene = {"scene_index": 0, "start_seconds": 0.0, "end_seconds": 1.0, "start_frame": 0, "end_frame": 9}
    out = make_folder(tmp_path / "out", {"scenes": {"a": [{**scene, "transition": "start", "score": 0.0}]}})
    with serving(described) as model:
        assert caption(out, model) == 3 and not model.asked
    (row,) = rows(out)
    assert (row["error"], row["attempts"], row["frames"]) == ("no_picture", 0, [])


def test_captions_of_shots_that_are_not_there_any_more_go(tmp_path: Path) -> None:
    out = folder(tmp_path / "out")
    with serving(described) as model:
        caption(out, model)
        fewer = folder(tmp_path / "fewer", num_shots=2)
        for table in ("scenes", "frames"):  # as a run that found fewer shots leaves them
            (new,) = Path(str(fewer.root), table).glob("*.parquet")
            (old,) = Path(str(out.root), table).glob("*.parquet")
            old.write_bytes(new.read_bytes())
        caption(out, model)
        assert len(model.asked) == 5  # of the shots nothing, of the file its summary
    assert [row["scene_index"] for row in rows(out)] == [0, 1]


def test_pictures_are_sent_no_larger_than_models_look_at() -> None:
    small = cv2.imdecode(np.frombuffer(reduced(jpeg_of(1920, 1080)), np.uint8), cv2.IMREAD_COLOR)
    assert small.shape[:2] == (432, SIDE_PIXELS) and reduced(jpeg_of(64, 48)) == jpeg_of(64, 48)
    assert "$words" in CAPTION_PROMPT


@pytest.mark.slow
def test_a_run_that_is_killed_loses_seconds_and_doubles_nothing(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", num_sources=20, num_shots=10)
    with serving(
        lambda question, number: Reply(wait=0.2) if not question.is_of_file else described(question, number)
    ) as model:
        line = [sys.executable, "-m", "framemill", "captions", str(out.root), "--address", model.address]
        line += ["--model", "m", "--concurrency", "2"]
        run = subprocess.Popen(line, env=dict(os.environ))
        while not (Path(str(out.root)) / "captions").exists():
            time.sleep(0.1)
            assert run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.wait()
        there = len(rows(out))
        model.script = described
        assert 0 < there < 200 and caption(out, model, "--no-summaries", "--concurrency", "8") == 0
        assert len(rows(out, "captions", "DISTINCT source_id, scene_index")) == len(rows(out)) == 200
        # What was on its way, and answered since the last commit, is asked again, and nothing else.
        assert len(model.asked) <= 200 + 2 * 5 * 5 + 10
    assert not broken(out)
