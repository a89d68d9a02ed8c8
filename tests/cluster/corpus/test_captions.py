"""Captions: what is asked, how often, and what becomes of the answers."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.sample_clip import render_sample
from framemill.cluster.cli.main import main
from framemill.cluster.corpus.captions import SIDE_PIXELS, reduced
from framemill.cluster.results.dataset import Dataset
from tests.cluster.corpus.captioned import broken, caption, described, folder, jpeg_of, rows
from tests.cluster.corpus.scripted_model import Question, Reply, serving
from tests.cluster.results.hand_made import make_folder


@pytest.fixture
def out(tmp_path: Path) -> Dataset:
    return folder(tmp_path / "out")


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
    assert rows(out)[0]["frames"] == [5, 10]
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


def test_captions_of_extracted_shots_are_found_filter_clips_and_go_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "media").mkdir()
    render_sample(tmp_path / "media" / "clip.mp4", 6, 320, 180)
    root = tmp_path / "out"
    shown = ("--sample", "every:1", "--images", "--ops", "media,frames,scenes", "-q")
    assert main(["extract", str(tmp_path / "media"), "-o", str(root), *shown]) == 0
    out = Dataset.open(root, create=False)
    starts = [row["start_seconds"] for row in rows(out, "scenes", "start_seconds")]
    assert len(starts) >= 2

    def script(question: Question, number: int) -> Reply:
        if question.is_of_file:
            return Reply('{"summary": "A test."}')
        is_first = len([each for each in model.asked if not each.is_of_file]) == 1
        word = "lighthouse" if is_first else "harbour"
        return Reply(json.dumps({"caption": f"A {word} at night.", "tags": [word, "night"]}))

    with serving(script) as model:
        assert caption(out, model, "--concurrency", "1") == 0
    found = rows(out, "shots", "scene_index, caption, keywords")
    assert found[0]["caption"] == "A lighthouse at night." and found[0]["keywords"] == ["lighthouse", "night"]
    assert {row["caption"] for row in found[1:]} == {"A harbour at night."}
    capsys.readouterr()
    assert main(["search", str(root), "lighthouse", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert (hit["origin"], hit["pts_seconds"], hit["text"]) == (
        "caption",
        starts[0],
        "A lighthouse at night.",
    )
    clips = ("--where", "list_contains(keywords, 'lighthouse')", "--min-seconds", "0.1", "-q")
    assert main(["clips", str(root), "-o", str(tmp_path / "clips"), *clips, "--format", "hf"]) == 0
    kept = rows(out, "clips", "scene_index, kept")
    assert [row["scene_index"] for row in kept if row["kept"]] == [0]
    (line,) = (tmp_path / "clips" / "train" / "metadata.jsonl").read_text().splitlines()
    assert json.loads(line)["caption"] == "A lighthouse at night."


def test_a_folder_without_shots_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_folder(tmp_path / "out", {"frames": {"a": []}})
    with serving(described) as model:
        assert caption(out, model) == 2 and not model.asked
    assert "--ops frames,scenes" in capsys.readouterr().err


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


@pytest.mark.slow
def test_a_run_that_is_killed_loses_seconds_and_doubles_nothing(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", num_sources=20, num_shots=10)
    with serving(
        lambda question, number: Reply(wait=0.2) if not question.is_of_file else described(question, number)
    ) as model:
        line = [sys.executable, "-m", "framemill", "captions", str(out.root), "--address", model.address]
        line += ["--model", "m", "--concurrency", "2"]
        run = subprocess.Popen(line, env=dict(os.environ))
        while not list(Path(str(out.root)).glob("captions/*.parquet")):
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
