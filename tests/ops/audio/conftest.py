"""A recogniser and a detector of speech with real weights, and clips whose words are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framemill.models.registry import resolve
from framemill.models.whisper import open_whisper
from tests.ops.audio.test_speech import read_sound
from tests.ops.stand_ins import OrtRunner, vad_path


@pytest.fixture(scope="module")
def whisper(models_dir: Path) -> Any:
    pytest.importorskip("faster_whisper")
    path = models_dir / "whisper_words"
    return open_whisper(resolve("transcript", str(path)), path, 2)[0].runner


@pytest.fixture(scope="module")
def vad() -> OrtRunner:
    pytest.importorskip("faster_whisper")
    return OrtRunner(vad_path())


@pytest.fixture(scope="module")
def clips(media_dir: Path) -> dict[str, Any]:
    folder = media_dir / "audio" / "whisper_words"
    described = json.loads((folder / "transcripts.json").read_text("utf-8"))["clips"]
    return {clip["file"]: {**clip, "samples": read_sound(folder / clip["file"])} for clip in described}
