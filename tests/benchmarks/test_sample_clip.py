from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.sample_clip import SampleTruth, plan_sample, render_sample


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleTruth]:
    path = tmp_path_factory.mktemp("clip") / "sample.mp4"
    return path, render_sample(path, seconds=4, width=320, height=180)


@pytest.fixture(scope="module")
def lumas(clip: tuple[Path, SampleTruth]) -> np.ndarray:
    with av.open(str(clip[0])) as container:
        return np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)]).astype(float)


def test_cuts_are_the_largest_changes(clip: tuple[Path, SampleTruth], lumas: np.ndarray) -> None:
    truth = clip[1]
    assert len(lumas) == truth.num_frames == 100
    change = np.abs(np.diff(lumas, axis=0)).mean(axis=(1, 2))
    assert sorted(np.argsort(change)[-len(truth.cuts) :] + 1) == list(truth.cuts)


def test_fade_goes_through_black(clip: tuple[Path, SampleTruth], lumas: np.ndarray) -> None:
    start, end = clip[1].fade
    level = lumas.mean(axis=(1, 2))
    assert level[start:end].min() < 5
    assert min(level[:start].min(), level[end:].min()) > 30


def test_clicks_are_on_the_beat(clip: tuple[Path, SampleTruth]) -> None:
    path, truth = clip
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    for beat in truth.beat_seconds:
        at = round(beat * 48_000)
        before, after = sound[max(0, at - 4800) : max(1, at - 480)], sound[at : at + 960]
        assert np.abs(after).max() > 3 * np.abs(before).max()


def test_texts_cover_every_frame(clip: tuple[Path, SampleTruth]) -> None:
    truth = clip[1]
    edges = [edge for start, end, _ in truth.texts for edge in (start, end)]
    assert edges[0] == 0 and edges[-1] == truth.num_frames
    assert edges[1:-1:2] == edges[2::2]


def test_same_arguments_give_the_same_bytes(clip: tuple[Path, SampleTruth], tmp_path: Path) -> None:
    again = tmp_path / "again.mp4"
    assert render_sample(again, seconds=4, width=320, height=180) == clip[1]
    assert again.read_bytes() == clip[0].read_bytes()


def test_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 3 s"):
        plan_sample(seconds=1)
