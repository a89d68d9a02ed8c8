"""Scenes: exact on known clips, the same rows however a source is cut up, and cheap in fast mode."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.chunks import FrameIndex, Signals
from framemill.ops.operation import Partial
from framemill.ops.shots.features import reach
from framemill.ops.shots.scenes import Scenes, ScenesOptions
from framemill.ops.shots.selection import select_frames
from tests.ops.shots.scene_clips import (
    LABELLED,
    QUICK_FOOTAGE,
    Boundary,
    compose,
    decoded_share,
    encode,
    f1_score,
    load_footage,
    match,
    read_index,
    read_signals,
    run_op,
    shard_of,
    slice_signals,
)

HEIGHT, WIDTH = 36, 64


def scenes(**options: Any) -> Scenes:
    return Scenes(ScenesOptions(**options), {})


def picture(seed: int) -> np.ndarray[Any, Any]:
    """A coarse random picture, [36, 64] float."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(30, 220, (9, 16)), np.ones((4, 4)))


def film(luma: list[np.ndarray[Any, Any]], fps: float = 25.0, noise_seed: int = 1) -> Signals:
    """Signals of these luma pictures with a little noise, grey."""
    noise = np.random.default_rng(noise_seed).normal(0, 1.0, (len(luma), HEIGHT, WIDTH))
    planes = np.clip(np.stack(luma) + noise, 0, 255).astype(np.uint8)
    at = np.arange(len(luma), dtype=np.int64)
    grey = np.full((len(luma), HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return Signals(at, at / fps, at == 0, planes, grey, grey)


def index_of(signals: Signals) -> FrameIndex:
    n = len(signals)
    return FrameIndex(signals.frame_index, signals.pts_seconds, signals.is_key, np.full(n, 500, np.int64))


def starts_of(luma: list[np.ndarray[Any, Any]], **options: Any) -> list[tuple[int, str]]:
    signals = film(luma)
    rows = run_op(scenes(**options), index_of(signals), [signals])
    return [(row["start_frame"], row["transition"]) for row in rows]


def mix(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], steps: int) -> list[np.ndarray[Any, Any]]:
    return [a + (b - a) * (i + 1) / (steps + 1) for i in range(steps)]


def dip(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Falls to black in three frames and rises in nine, as 12 frames of ffmpeg's `fadeblack`."""
    black = np.full_like(before, 16.0)
    fall = [black + (before - black) * share for share in (0.57, 0.06, 0.0)]
    return fall + [black + (after - black) * (i + 1) / 10 for i in range(9)]


def test_a_quick_fall_to_black_and_a_slow_rise_are_a_fade() -> None:
    a, b = picture(1), picture(2)
    found = starts_of([a] * 40 + dip(a, b) + [b] * 40)
    assert [kind for _, kind in found] == ["start", "fade"]
    assert 41 <= found[1][0] <= 43


def test_a_picture_that_comes_back_out_of_black_begins_no_shot() -> None:
    a = picture(1)
    assert starts_of([a] * 40 + dip(a, a) + [a] * 40) == [(0, "start")]


def test_a_cut_to_black_that_is_held_stays_a_cut() -> None:
    a, b = picture(1), picture(2)
    black = np.full_like(a, 16.0)
    found = starts_of([a] * 40 + [black] * 25 + mix(black, b, 12) + [b] * 40)
    assert found == [(0, "start"), (40, "cut")]


def test_cut_fade_and_dissolve_are_told_apart() -> None:
    a, b, c, d = (picture(i) for i in range(4))
    black = np.full((HEIGHT, WIDTH), 16.0)
    luma = [a] * 40 + [b] * 40 + mix(b, black, 9) + [black] * 6 + mix(black, c, 9) + [c] * 40
    luma += mix(c, d, 15) + [d] * 40
    found = starts_of(luma)
    assert [kind for _, kind in found] == ["start", "cut", "fade", "dissolve"]
    assert found[1][0] == 40
    assert abs(found[2][0] - 94) <= 1  # the last black frame
    assert abs(found[3][0] - 151) <= 1  # the middle of the mix of 144..158


def test_flash_and_change_of_light_are_no_boundaries() -> None:
    a = picture(5)
    bright = np.clip(a * 0.3 + 160, 0, 255)
    assert starts_of([a] * 40 + [bright] * 3 + [a] * 40) == [(0, "start")]
    dim = a * 0.5
    assert starts_of([a] * 40 + mix(a, dim, 15) + [dim] * 40) == [(0, "start")]


def test_fast_pan_is_no_boundary() -> None:
    wide = np.kron(np.random.default_rng(3).uniform(30, 220, (9, 160)), np.ones((4, 4)))
    luma = [wide[:, 4 * i : 4 * i + WIDTH] for i in range(120)]
    assert starts_of(luma) == [(0, "start")]


def test_cut_to_black_then_rise_is_one_boundary() -> None:
    a, b = picture(7), picture(8)
    black = np.full((HEIGHT, WIDTH), 16.0)
    assert starts_of([a] * 40 + [black] * 20 + mix(black, b, 10) + [b] * 40) == [(0, "start"), (40, "cut")]


def test_rows_cover_the_source_and_follow_the_schema() -> None:
    signals = film([picture(i // 30) for i in range(95)])
    op = scenes()
    extractor = op.open(shard_of(index_of(signals)))
    extractor.feed(signals, {})
    partial = extractor.finish()
    assert partial.rows.num_rows == 0 and partial.rows.schema == op.schema
    table = op.merge([partial])
    assert table.schema == op.schema
    assert all((f.metadata or {}).get(b"doc") for f in op.schema)
    rows = table.to_pylist()
    assert [r["start_frame"] for r in rows] == [0, 30, 60, 90]
    assert [r["end_frame"] for r in rows] == [30, 60, 90, 95]
    assert [r["start_seconds"] for r in rows] == pytest.approx([0, 1.2, 2.4, 3.6])
    assert [r["end_seconds"] for r in rows] == pytest.approx([1.2, 2.4, 3.6, 3.8])
    assert [r["scene_index"] for r in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_short_sources_have_one_scene(length: int) -> None:
    rows = run_op(scenes(), index_of(film([picture(1)] * length)), [film([picture(1)] * length)])
    assert [(r["start_frame"], r["end_frame"]) for r in rows] == [(0, length)]


def test_source_without_picture_has_no_scene() -> None:
    nothing = FrameIndex(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64))
    for mode in ("exact", "fast"):
        assert run_op(scenes(mode=mode), nothing, []) == []
    assert select_frames(nothing) is None


def test_grey_source_without_chroma_planes() -> None:
    signals = film([picture(i // 30) for i in range(60)])
    none = np.zeros((60, 0, 0), np.uint8)
    bare = Signals(signals.frame_index, signals.pts_seconds, signals.is_key, signals.luma, none, none)
    assert [r["start_frame"] for r in run_op(scenes(), index_of(bare), [bare])] == [0, 30]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "quick"),
        ("cut_ratio", 0.5),
        ("cut_threshold", -1.0),
        ("dissolve_threshold", 300.0),
        ("min_scene_seconds", float("nan")),
        ("max_scenes", 1.5),
        ("max_scenes", -1),
        ("cut_ratio", "2"),
    ],
)
def test_bad_options_are_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"scenes.{name} is ") as caught:
        ScenesOptions(**{name: value})
    assert repr(value) in str(caught.value)


def test_min_scene_seconds_joins_short_scenes() -> None:
    luma = [picture(0)] * 40 + [picture(1)] * 12 + [picture(2)] * 40
    assert [s for s, _ in starts_of(luma)] == [0, 40, 52]
    assert [s for s, _ in starts_of(luma, min_scene_seconds=1.0)] == [0, 40]


def random_film(seed: int) -> Signals:
    """A film of random shots and transitions, with flashes."""
    rng = np.random.default_rng(seed)
    black = np.full((HEIGHT, WIDTH), 16.0)
    luma: list[np.ndarray[Any, Any]] = [picture(seed * 50)] * 30
    for number in range(1, 7):
        before, after = luma[-1], picture(seed * 50 + number)
        kind = rng.integers(4)
        if kind == 1:
            luma += mix(before, after, int(rng.integers(6, 25)))
        elif kind == 2:
            luma += mix(before, black, 8) + [black] * int(rng.integers(1, 60)) + mix(black, after, 8)
        elif kind == 3:
            luma += [np.clip(before + 120, 0, 255)] * 2 + [before] * 10
        luma += [after] * int(rng.integers(5, 60))
    return film(luma, noise_seed=seed)


def through_arrow(partial: Partial) -> Partial:
    """As another process gets it."""

    def sent(table: pa.Table) -> pa.Table:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return pa.ipc.open_stream(sink.getvalue()).read_all()

    assert partial.state is not None
    return Partial(sent(partial.rows), sent(partial.state))


def in_shards(op: Scenes, signals: Signals, index: FrameIndex, cuts: list[int], size: int) -> pa.Table:
    """Shards with a lead-in and lead-out of ten frames, processed last to first, fed `size` frames a time."""
    chosen = op.select(index)
    if chosen is not None:
        signals = Signals(*(getattr(signals, n)[chosen] for n in Signals.__slots__))
    edges = [0, *cuts, len(index)]
    partials: list[Partial] = []
    for at in reversed(range(len(edges) - 1)):
        start, end = edges[at], edges[at + 1]
        extractor = op.open(shard_of(index, start, end, at, len(edges) - 1))
        mine = np.flatnonzero((signals.frame_index >= start - 10) & (signals.frame_index < end + 10))
        for row in range(0, len(mine), size):
            extractor.feed(slice_signals(signals, int(mine[row]), int(mine[row : row + size][-1]) + 1), {})
            if extractor.done:
                break
        partials.insert(0, through_arrow(extractor.finish()))
    return op.merge(partials)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 300), st.data())
def test_rows_do_not_depend_on_shards_and_chunks(seed: int, data: st.DataObject) -> None:
    signals = random_film(seed)
    n = len(signals)
    whole = scenes().merge([_fed_at_once(scenes(), signals)])
    cuts = data.draw(st.lists(st.integers(1, n - 1), unique=True, max_size=4).map(sorted))
    assert in_shards(scenes(), signals, index_of(signals), cuts, data.draw(st.integers(1, n))).equals(whole)


def _fed_at_once(op: Scenes, signals: Signals) -> Partial:
    extractor = op.open(shard_of(index_of(signals)))
    extractor.feed(signals, {})
    return extractor.finish()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 300), st.integers(1, 8), st.integers(1, 3), st.integers(1, 60))
def test_early_stop_gives_the_first_scenes_of_all(seed: int, limit: int, num_shards: int, size: int) -> None:
    parts = [random_film(seed + i) for i in range(3)]
    signals = film([p for part in parts for p in part.luma.astype(float)], noise_seed=seed)
    n = len(signals)
    full = scenes().merge([_fed_at_once(scenes(), signals)])
    cuts = [n * i // num_shards for i in range(1, num_shards)]
    assert in_shards(scenes(max_scenes=limit), signals, index_of(signals), cuts, size).equals(full[:limit])


def test_early_stop_stops_early() -> None:
    signals = film([picture(i // 30) for i in range(1200)])
    extractor = scenes(max_scenes=3).open(shard_of(index_of(signals)))
    fed = 0
    while not extractor.done:
        extractor.feed(slice_signals(signals, fed, fed + 20), {})
        fed += 20
    assert fed < 400 and fed >= 90 + reach(0.04)


def test_state_is_a_few_numbers_per_frame() -> None:
    sizes = []
    for length in (100, 1100):
        state = _fed_at_once(scenes(), film([picture(1)] * length)).state
        assert state is not None
        sizes.append(state.nbytes)
    assert (sizes[1] - sizes[0]) / 1000 < 160


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, tuple[str, ...], int], Any]:
    folder = tmp_path_factory.mktemp("clips")
    shots: list[Any] = []

    def render(media: Path, kinds: tuple[str, ...], seed: int) -> tuple[Path, list[Boundary]]:
        if not shots:
            shots.extend(load_footage(media, QUICK_FOOTAGE))
        frames, truth = compose(shots, 10, seed, kinds)
        path = folder / f"{'_'.join(kinds)}_{seed}.mp4"
        encode(path, frames)
        return path, truth

    return render


def found_in(path: Path, mode: str) -> tuple[list[int], float]:
    index = read_index(path)
    op = scenes(mode=mode)
    chosen = op.select(index)
    rows = run_op(op, index, read_signals(path, index, chosen))
    assert rows[0]["start_frame"] == 0 and rows[-1]["end_frame"] == len(index)
    return [row["start_frame"] for row in rows[1:]], decoded_share(index, chosen)


def score(parts: list[tuple[int, int, int]]) -> float:
    return f1_score(*(sum(p[i] for p in parts) for i in range(3)))


def video(media_dir: Path) -> Path:
    return media_dir / "video"


def test_cuts_between_real_shots(media_dir: Path, rendered: Any) -> None:
    clips = [rendered(video(media_dir), ("cut",), seed) for seed in (1, 2)]
    exact = score([match(found_in(path, "exact")[0], truth) for path, truth in clips])
    quick = [(found_in(path, "fast"), truth) for path, truth in clips]
    assert exact >= 0.95
    assert score([match(found, truth) for (found, _), truth in quick]) >= 0.9
    assert max(share for (_, share), _ in quick) < 0.6


@pytest.mark.slow
def test_gradual_transitions_between_real_shots(media_dir: Path, rendered: Any) -> None:
    clips = [rendered(video(media_dir), ("cut", "dissolve", "fade"), seed) for seed in (3, 4)]
    assert score([match(found_in(path, "exact")[0], truth) for path, truth in clips]) >= 0.85


@pytest.mark.parametrize("name", ["testvideo.mp4", "fades.mp4", "counter.mp4", "video_big_buck_bunny.mp4"])
def test_labelled_media(media_dir: Path, name: str) -> None:
    assert match(found_in(video(media_dir) / name, "exact")[0], LABELLED[name])[1:] == (0, 0)


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "dog_eating_854132.mp4", "bottle-detection.mp4"])
def test_single_shots_have_one_scene(media_dir: Path, name: str) -> None:
    assert found_in(video(media_dir) / name, "exact")[0] == []


def test_fast_in_shards_equals_fast_undivided(media_dir: Path, rendered: Any) -> None:
    path, _ = rendered(video(media_dir), ("cut",), 1)
    index = read_index(path)
    everything = next(read_signals(path, index, None, size=len(index)))
    whole = in_shards(scenes(mode="fast"), everything, index, [], 64)
    keys = np.flatnonzero(index.is_key)[1:].tolist()
    assert in_shards(scenes(mode="fast"), everything, index, [keys[1], keys[3]], 7).equals(whole)
    assert whole.num_rows > 4


def test_fast_rows_are_the_same_beside_operations_that_look_at_every_frame(
    media_dir: Path, rendered: Any
) -> None:
    path, _ = rendered(video(media_dir), ("cut",), 2)
    index = read_index(path)
    op = scenes(mode="fast")
    states = []
    for chosen in (op.select(index), None):
        extractor = op.open(shard_of(index))
        for chunk in read_signals(path, index, chosen):
            extractor.feed(chunk, {})
        states.append(extractor.finish().state)
    assert states[0] is not None and states[0].equals(states[1])
    assert len(states[0]["frame_index"][0]) < len(index)
