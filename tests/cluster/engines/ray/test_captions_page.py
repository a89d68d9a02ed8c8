"""The program of docs/captions-on-ray.md as it stands there, against a scripted server."""

from __future__ import annotations

import base64
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray")

from tests.cluster.corpus.scripted_model import Question, Reply, serving
from tests.cluster.engines.ray.ray_local import small_ray
from tests.operation_pages import python_blocks, render_dark_then_bright

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
JSON = {"Content-Type": "application/json"}


def brightness(question: Question) -> float:
    """Of the first picture."""
    url = question.body["messages"][1]["content"][0]["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    return float(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).mean())


def answer(question: Question, number: int) -> Reply:
    """Busy at first, then a word for a bright shot and an error for a dark one."""
    if number == 1:
        return Reply(status=503, headers=JSON)
    if brightness(question) > 128:
        return Reply(text="bright", headers=JSON)
    return Reply(body=b'{"error": {"message": "too dark"}}', status=400, headers=JSON)


def test_each_shot_is_described_by_a_server_or_has_the_reason_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "captions_on_ray.py").write_text(python_blocks("captions-on-ray.md")[0])
    clips = [str(tmp_path / name) for name in ("a.mkv", "b.mkv")]
    for number, clip in enumerate(clips):
        render_dark_then_bright(Path(clip), loudness=0.1 * (number + 1))
    out = tmp_path / "captions"
    with serving(answer) as server, small_ray():
        line = ["captions_on_ray.py", "--address", server.address, str(out), "tiny", *clips]
        monkeypatch.setattr(sys, "argv", line)
        runpy.run_path(str(tmp_path / "captions_on_ray.py"), run_name="__main__")
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: (row["uri"], row["scene_index"]))
    assert [(row["uri"], row["scene_index"], row["text"]) for row in rows] == [
        (clip, scene, text) for clip in clips for scene, text in enumerate((None, "bright"))
    ]
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [(0, 2), (2, 4)] * 2
    assert all("too dark" in row["error"] for row in rows if row["text"] is None)
    assert len(server.asked) == 5, "the one that it was too busy for was asked again"
    for question in server.asked:
        assert "null" not in json.dumps(question.body), "servers may refuse what a part does not have"
        system, user = question.body["messages"]
        assert isinstance(system["content"], str) and len(user["content"]) == 2
        assert question.path == "/v1/chat/completions" and question.body["model"] == "tiny"


def test_the_settings_for_vllm_are_those_that_ray_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.data.llm

    built = []
    monkeypatch.setattr(ray.data.llm, "build_processor", lambda config, **functions: built.append(config))
    page: dict[str, object] = {"__name__": "page"}
    exec(python_blocks("captions-on-ray.md")[0], page)
    page["by_vllm"]("some/model")  # type: ignore[operator]
    (config,) = built
    assert config.model_source == "some/model" and config.should_continue_on_error
    with pytest.raises(ValueError, match="no_such_setting"):
        ray.data.llm.vLLMEngineProcessorConfig(model_source="some/model", no_such_setting=1)
