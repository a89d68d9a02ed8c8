"""Scenes by TransNet V2: a stand-in that compares pictures, tiny networks, and the authors' own steps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from framemill.errors import ModelError, UsageError
from framemill.models.adding import add
from framemill.models.registry import DEFAULTS, resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.chunks import FrameIndex, Signals
from framemill.ops.operation import Partial
from framemill.ops.shots.scenes import Scenes
from framemill.ops.shots.transnet import find_transitions, small_picture
from framemill.testing import check_operation, frame_index
from tests.ops.shots.scene_clips import read_index, read_signals, run_op, shard_of, slice_signals
from tests.ops.shots.shot_networks import ChangesRunner, write_network
from tests.small_models import SMALL

ENTRY = SMALL["shot_boundaries"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


def scenes(runner: Any = None, **options: Any) -> Scenes:
    model = Model(ENTRY, ChangesRunner() if runner is None else runner)
    return Scenes(Scenes.Options(method="transnetv2", **options), {"shot_boundaries": model})


def film(*lengths: int, seen: Any = None) -> tuple[FrameIndex, Signals]:
    """Shots of these lengths, dark and bright in turn, each frame a level off the one before."""
    shot = np.repeat(np.arange(len(lengths)), lengths)
    index = frame_index(len(shot))
    luma = (30 + 180 * (shot % 2) + np.arange(len(shot)) % 3).astype(np.uint8)
    planes = np.broadcast_to(luma[:, None, None], (len(shot), 54, 96)).copy()
    chroma = np.full((len(shot), 27, 48), 128, np.uint8)
    signals = Signals(np.arange(len(shot)), index.pts_seconds, index.is_key, planes, chroma, chroma.copy())
    if seen is None:
        return index, signals
    return index, Signals(*(getattr(signals, name)[seen] for name in Signals.__slots__))


def merged(op: Scenes, index: FrameIndex, signals: Signals, edges: list[int]) -> list[dict[str, Any]]:
    """Rows of a source that was cut at these frames."""
    partials: list[Partial] = []
    for number, (start, end) in enumerate(itertools.pairwise([0, *edges, len(index)])):
        extractor = op.open(shard_of(index, start, end, number, len(edges) + 1))
        for first in range(0, len(signals), 64):
            extractor.feed(slice_signals(signals, first, first + 64), {})
        partials.append(extractor.finish())
    return op.merge(partials).to_pylist()


def test_the_contract_of_operations_holds_with_a_network() -> None:
    options = Scenes.Options(method="transnetv2")
    check_operation(Scenes, options, models={"shot_boundaries": Model(ENTRY, ChangesRunner())})


def test_a_shot_begins_behind_the_frames_that_likely_end_one() -> None:
    rows = run_op(scenes(), *_whole(film(40, 77, 12, 71)))
    assert [row["start_frame"] for row in rows] == [0, 40, 117, 129]
    assert [row["end_frame"] for row in rows] == [40, 117, 129, 200]
    assert rows[1]["start_seconds"] == 4.0 and rows[-1]["end_seconds"] == pytest.approx(20.0)
    assert [row["transition"] for row in rows] == ["start", "cut", "cut", "cut"]
    assert rows[0]["score"] == 0 and all(0.5 < row["score"] <= 1 for row in rows[1:])
    fewer = run_op(scenes(max_scenes=2), *_whole(film(40, 77, 12, 71)))
    assert fewer == rows[:2]
    none = run_op(scenes(transition_probability=0.95), *_whole(film(40, 77, 12, 71)))
    assert [row["end_frame"] for row in none] == [200]
    longer = run_op(scenes(min_scene_seconds=2.0), *_whole(film(40, 77, 12, 71)))
    assert [row["start_frame"] for row in longer] == [0, 40, 117]


def _whole(made: tuple[FrameIndex, Signals]) -> tuple[FrameIndex, list[Signals]]:
    return made[0], [made[1]]


@pytest.mark.parametrize("num_frames", [1, 49, 50, 51, 100, 130, 275])
def test_windows_are_those_of_the_authors(num_frames: int) -> None:
    """25 first frames before, 25 last ones behind, filled up to whole steps of 50."""
    runner = ChangesRunner()
    index, signals = film(num_frames)
    run_op(scenes(runner), index, [signals])
    planes = zip(signals.luma, signals.chroma_u, signals.chroma_v, strict=True)
    small = [small_picture(each) for each in planes]
    behind = 25 + 50 - (num_frames % 50 or 50)
    padded = np.stack([small[0]] * 25 + small + [small[-1]] * behind)
    expected = [padded[start : start + 100] for start in range(0, len(padded) - 99, 50)]
    np.testing.assert_array_equal(np.stack(runner.windows), np.stack(expected))


@pytest.mark.parametrize("edges", [[137], [100, 300], [300, 340, 350], [1, 2, 699]])
def test_rows_do_not_depend_on_where_a_source_was_cut(edges: list[int]) -> None:
    index, signals = film(137, 63, 100, 45, 155, 200)
    whole, cut = ChangesRunner(), ChangesRunner()
    expected = merged(scenes(whole), index, signals, [])
    assert [row["start_frame"] for row in expected] == [0, 137, 200, 300, 345, 500]
    assert merged(scenes(cut), index, signals, edges) == expected
    assert len(cut.windows) == len(whole.windows) == 14


def test_frames_that_are_missing_are_stood_for_by_those_before() -> None:
    kept = np.setdiff1d(np.arange(700), [*range(30, 45), *range(210, 480), *range(690, 700)])
    index, signals = film(40, 160, 500, seen=kept)
    runner = ChangesRunner()
    rows = merged(scenes(runner), index, signals, [])
    assert [row["start_frame"] for row in rows] == [0, 45, 200] and rows[-1]["end_frame"] == 690
    assert len(runner.windows) == 10  # none of the four whose middle nobody saw
    assert merged(scenes(), index, signals, [150, 420]) == rows
    nothing = film(300, seen=np.zeros(0, np.int64))
    assert merged(scenes(), *nothing, [100]) == []


def test_kinds_follow_how_long_a_transition_is_and_whether_it_shows_one_colour() -> None:
    single, many = np.zeros(300, np.float32), np.zeros(300, np.float32)
    single[[49, 119, 120, 200]] = 0.9
    many[[49, 50]] = 0.8
    many[105:135] = many[190:215] = 0.8
    plain = np.zeros(300, bool)
    plain[195:199] = plain[48:52] = True
    found = find_transitions(single, many, np.arange(300), plain, 0.5)
    kinds = [(each.position, each.transition) for each in found]
    assert kinds == [(50, "cut"), (121, "dissolve"), (201, "fade")]
    assert found[0].score == pytest.approx(0.9)


def test_colours_come_in_as_red_green_and_blue() -> None:
    """Studio range: white is 235, and red of BT.601 has Y 81, Cb 90, Cr 240."""
    flat = [np.full((54, 96), value, np.uint8) for value in (81, 90, 240)]
    red = small_picture((flat[0], flat[1], flat[2]))
    assert red.shape == (27, 48, 3) and np.abs(red.astype(int) - (255, 0, 0)).max() <= 2
    none = np.zeros((0, 0), np.uint8)
    assert (small_picture((np.full((54, 96), 235, np.uint8), none, none)) >= 254).all()


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"scenes\.mode is 'fast', but scenes\.method=transnetv2"):
        Scenes.Options(method="transnetv2", mode="fast")
    with pytest.raises(UsageError, match=r"scenes\.method is 'cnn'; it must be changes or transnetv2"):
        Scenes.Options(method="cnn")
    with pytest.raises(UsageError, match=r"scenes\.transition_probability is 2; give a number"):
        Scenes.Options(transition_probability=2)
    assert Scenes.roles(Scenes.Options()) == ()
    assert Scenes.roles(Scenes.Options(method="transnetv2")) == ("shot_boundaries",)


def test_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    entry = replace(DEFAULTS["shot_boundaries"], batching="none")
    made = film(60)

    def run(path: Path) -> None:
        model, _ = open_model(entry, path, 1, "cpu")
        run_op(Scenes(Scenes.Options(method="transnetv2"), {"shot_boundaries": model}), *_whole(made))

    run(write_network(tmp_path / "good.onnx"))
    with pytest.raises(ModelError, match=r"gives 16 to \d+, .*export it with its sigmoid"):
        run(write_network(tmp_path / "raw.onnx", scale=1.0))
    with pytest.raises(ModelError, match=r"gives \{'534': \[2, 100\]\} for 2 windows, .* two outputs"):
        run(write_network(tmp_path / "one.onnx", outputs=1))
    with pytest.raises(ModelError, match=r"is of family 'yolox'; add one of transnetv2, transnetv2_bytes"):
        scenes_of_family = {"shot_boundaries": Model(replace(entry, family="yolox"), ChangesRunner())}
        Scenes(Scenes.Options(method="transnetv2"), scenes_of_family)


def test_a_file_of_another_contract_is_refused_when_it_is_added(tmp_path: Path) -> None:
    short = write_network(tmp_path / "short.onnx", length=50)
    with pytest.raises(ModelError, match=r"takes clip \[1, 50, 27, 48, 3\], .* \[any, 100, 27, 48, 3\]"):
        add(str(short), "shot_boundaries")
    one = write_network(tmp_path / "one.onnx", outputs=1)
    with pytest.raises(ModelError, match=r"gives 534 \[1, 100\], .* single \[any, 100\], many \[any, 100\]"):
        add(str(one), "shot_boundaries")
    half = write_network(tmp_path / "half.onnx", kind=TensorProto.FLOAT16)
    with pytest.raises(ModelError, match=r"takes float16, but family 'transnetv2' takes float32"):
        add(str(half), "shot_boundaries")
    for kind, family in ((TensorProto.FLOAT, "transnetv2"), (TensorProto.UINT8, "transnetv2_bytes")):
        path = write_network(tmp_path / f"my_{family}.onnx", kind=kind)
        assert add(str(path), "shot_boundaries")["batching"] in ("fixed", "none")
        assert resolve("shot_boundaries", f"my_{family}").family == family


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("name", ["counter.mp4", "bbb_642x642_30fps_vp9.webm"])
def test_shots_are_those_of_the_authors_steps(media_dir: Path, models_dir: Path, name: str) -> None:
    from benchmarks.accuracy.scenes import published_steps

    clip, path = media_dir / "video" / name, models_dir / ENTRY.file_name
    model, _ = open_model(ENTRY, path, 1, "cpu")
    op = Scenes(Scenes.Options(method="transnetv2"), {"shot_boundaries": model})
    index = read_index(clip)
    rows = run_op(op, index, read_signals(clip, index, None))
    expected = published_steps(path)(clip)
    assert expected and [row["start_frame"] for row in rows[1:]] == expected
