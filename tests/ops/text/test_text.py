"""Text: geometry and decoding by hand, what is looked at again and what is not, and the real models."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.errors import ModelError, UsageError
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.models.store import find
from framemill.ops.pixels.stillness import StillPicture
from framemill.ops.text.detection import LONGEST_SIDE, STRIDE, clockwise, grow, picture_size, reading_order
from framemill.ops.text.recognition import cut_line, decode
from framemill.ops.text.text import Text, TextOptions
from tests.ops.stand_ins import ArrayFrames, OrtRunner, shard
from tests.ops.text.text_stand_ins import TEXT_ENTRIES, TEXT_STAND_INS
from tests.small_models import SMALL

Pixels = npt.NDArray[np.uint8]


def stand_in(**options: Any) -> Text:
    models = {
        role: Model(TEXT_ENTRIES.get(role, SMALL[role]), TEXT_STAND_INS[role]()) for role in Text.models
    }
    return Text(TextOptions(**options), models)


@pytest.fixture(scope="module")
def real() -> Text:
    if find_spec("rapidocr") is None:
        pytest.skip("the package rapidocr, which holds the models, is not installed")
    entries = [SMALL[role] for role in Text.models]
    return Text(TextOptions(), {e.role: Model(e, OrtRunner(find(e))) for e in entries})


def rows(op: Text, pixels: Pixels, chunk: int = 8) -> list[dict[str, Any]]:
    extractor = op.open(shard(len(pixels), pixels.shape[2], pixels.shape[1], len(pixels) / 10))
    frames = ArrayFrames(pixels)
    for start in range(0, len(pixels), chunk):
        extractor.feed(frames.slice(start, start + chunk), {})
    found: list[dict[str, Any]] = op.merge([extractor.finish()]).to_pylist()
    return found


def texts(found: list[dict[str, Any]], num_frames: int) -> list[list[str]]:
    return [[row["text"] for row in found if row["frame_index"] == i] for i in range(num_frames)]


def plain(*shades: int) -> Pixels:
    return np.stack([np.full((90, 160, 3), shade, np.uint8) for shade in shades])


def slide(*lines: tuple[str, float], size: tuple[int, int] = (640, 360)) -> Pixels:
    page = np.full((size[1], size[0], 3), (30, 40, 60), np.uint8)
    for row, (words, scale) in enumerate(lines):
        place = (30, 60 + 75 * row)
        cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 240, 230), 2, cv2.LINE_AA)
    return page


def looked_at(op: Text) -> tuple[int, int]:
    """Pictures the detector and lines the recogniser has seen."""
    runners: list[Any] = [op.loaded[role].runner for role in ("text_detection", "text_recognition")]
    return runners[0].num_rows, runners[1].num_rows


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_pictures_for_the_detector_are_bounded_multiples_of_its_stride(width: int, height: int) -> None:
    size = picture_size(width, height)
    assert all(side % STRIDE == 0 and STRIDE <= side <= LONGEST_SIDE for side in size)


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [((1920, 1080), (1920, 1088)), ((640, 360), (1312, 736)), ((3840, 2160), (1984, 1120))],
)
def test_small_frames_are_enlarged_and_large_ones_reduced(
    frame: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert picture_size(*frame) == wanted


@given(st.integers(20, 200), st.integers(5, 60), st.floats(0, np.pi), st.floats(2, 40), st.integers(0, 500))
def test_growing_moves_every_side_out(wide: int, high: int, turn: float, distance: float, x: int) -> None:
    box = cv2.boxPoints(((x + 300.0, 300.0), (wide, high), float(np.rad2deg(turn))))
    quad = clockwise(box)
    _, before, _ = cv2.minAreaRect(quad)
    _, after, _ = cv2.minAreaRect(grow(quad, distance))
    # Corners lie on whole pixels before and after, which costs up to 2 at each end.
    assert sorted(after) == pytest.approx([side + 2 * distance for side in sorted(before)], abs=4)


def test_lines_are_read_from_the_top_and_from_the_left() -> None:
    tops = [(300, 104), (10, 100), (5, 160), (200, 96)]
    quads = np.array([[(x, y), (x + 50, y), (x + 50, y + 20), (x, y + 20)] for x, y in tops], np.float32)
    assert reading_order(quads)[:, 0].tolist() == [[10, 100], [200, 96], [300, 104], [5, 160]]


def test_lines_are_cut_upright() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[60:90, 20:30, 0] = np.arange(30)[::-1, None] * 8  # runs upwards: starts at the bottom
    corners = np.array([[20, 60], [30, 60], [30, 90], [20, 90]], np.float32)
    line = cut_line(picture, corners)
    assert line.shape == (10, 30, 3)
    assert line[5, 2, 0] > line[5, 15, 0] > line[5, 27, 0]


def test_repeats_are_joined_unless_a_blank_parts_them() -> None:
    labels = [1, 1, 0, 1, 2, 2, 0, 0]
    steps = np.full((1, len(labels), 3), 0.05, np.float32)
    steps[0, np.arange(len(labels)), labels] = [0.8, 0.9, 0.99, 0.6, 0.7, 0.5, 0.99, 0.99]
    ((text, score),) = decode(steps, ["", "l", "o"])
    assert text == "llo" and score == pytest.approx((0.8 + 0.6 + 0.7) / 3)
    assert decode(np.eye(3, dtype=np.float32)[None, [0, 0]], ["", "l", "o"]) == [("", 0)]


@pytest.mark.parametrize("scale", [0.4, 0.6, 1.2])
def test_noise_is_still_and_another_digit_is_not(scale: float) -> None:
    one, other = (slide((f"PTS = 1{digit}.5s", scale))[:, :, 0] for digit in "38")
    noise = np.random.default_rng(1).normal(0, 2.5, one.shape)
    noisy = np.clip(one + noise, 0, 255).astype(np.uint8)
    assert StillPicture(one).shows(one) and StillPicture(one).shows(noisy)
    assert not StillPicture(one).shows(other) and not StillPicture(noisy).shows(other)
    assert not StillPicture(one).shows(one[:-1])


def test_what_stands_still_is_looked_at_once() -> None:
    op = stand_in()
    found = rows(op, plain(*[80] * 9, *[200] * 5, 80), chunk=4)
    assert looked_at(op) == (3, 3)
    said = [row["text"] for row in found]
    assert said == [said[0]] * 9 + [said[9]] * 5 + [said[0]] and said[0] != said[9]
    assert [row["frame_index"] for row in found] == list(range(15))
    every = stand_in(reuse=False)
    assert rows(every, plain(*[80] * 9, *[200] * 5, 80)) == found
    assert looked_at(every) == (15, 15)


def test_slow_changes_add_up() -> None:
    op = stand_in()
    said = texts(rows(op, plain(*range(40, 200))), 160)
    assert looked_at(op)[0] > 20
    assert said[0] != said[-1] and len({line for (line,) in said}) > 20


def test_a_line_that_stands_still_in_a_changing_picture_is_read_once() -> None:
    op = stand_in()
    pixels = plain(*[80] * 6)
    for i, frame in enumerate(pixels):
        frame[:10] = 40 * i  # far from the line in the middle
    found = rows(op, pixels)
    assert looked_at(op) == (6, 1)
    assert len({row["text"] for row in found}) == 1 and len(found) == 6


def test_rows_have_their_place_within_the_frame() -> None:
    (row,) = rows(stand_in(), plain(120))
    corners = np.array(row["polygon"]).reshape(4, 2)
    assert row["text_index"] == 0 and row["score"] == pytest.approx(0.95)
    # The core takes the middle half and fifth of the picture; lines are larger than their cores.
    assert (corners[[0, 3], 0] < 41).all() and (corners[[1, 2], 0] > 119).all()
    assert (corners[:2, 1] < 37).all() and (corners[2:, 1] > 53).all()
    assert corners.min() >= 0 and (corners <= (159, 89)).all()


def test_options_leave_rows_out() -> None:
    assert rows(stand_in(score=0.96), plain(120)) == []
    assert rows(stand_in(box_score=0.95), plain(120)) == []


@pytest.mark.parametrize("options", [{"score": 1.5}, {"box_score": -0.1}, {"max_lines": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"text.{next(iter(options))} is .*; it must be"):
        TextOptions(**options)


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("text_detection", {"family": "yolox"}, "of family 'yolox'; choose a dbnet one"),
        ("text_recognition", {"labels": ("", "a")}, r"gives \[1, 5, 97\] .* 2 characters"),
        ("text_recognition", {"input_size": None}, "add it with input_size"),
        ("text_orientation", {"input_size": None}, "add it with input_size"),
    ],
)
def test_models_of_another_contract_are_refused(role: str, change: dict[str, Any], words: str) -> None:
    models = dict(stand_in().loaded)
    models[role] = replace(models[role], entry=replace(models[role].entry, **change))
    with pytest.raises(ModelError, match=words):
        rows(Text(TextOptions(), models), plain(120))


def test_a_detector_that_gives_no_map_is_refused() -> None:
    models = dict(stand_in().loaded)
    models["text_detection"] = replace(models["text_detection"], runner=TEXT_STAND_INS["text_recognition"]())
    models["text_detection"].runner.run = lambda inputs: {"y": np.zeros((1, 4), np.float32)}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"gives \[1, 4\] for a picture of 1312 x 736"):
        rows(Text(TextOptions(), models), plain(120))


def counter(media_dir: Path) -> Pixels:
    import av

    with av.open(str(media_dir / "video" / "counter.mp4")) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.slow
@pytest.mark.media
def test_counter_is_read_exactly(real: Text, media_dir: Path) -> None:
    pixels = counter(media_dir)
    wanted = [[f"Frame = {i + 1}", f"PTS = {i / 10:.1f}s"] for i in range(len(pixels))]
    found = texts(rows(real, pixels, chunk=4), len(pixels))
    exact = sum(a == b for a, b in zip(found, wanted, strict=True))
    assert len(pixels) == 30 and exact >= 0.95 * len(pixels)


@pytest.mark.media
def test_another_pair_of_models_reads_english(models_dir: Path, real: Text) -> None:
    models = dict(real.loaded)
    for role, name in (("text_detection", "ppocrv3_det"), ("text_recognition", "ppocrv2_rec_en")):
        entry = resolve(role, name)
        path = models_dir / entry.file_name
        models[role] = Model(entry, OrtRunner(path))
    found = rows(Text(TextOptions(), models), slide(("Revenue rose 12%", 1.2), ("page 7", 0.9))[None])
    assert ["".join(row["text"].split()) for row in found] == ["Revenuerose12%", "page7"]


def test_lines_are_those_of_rapidocr(real: Text) -> None:
    rapidocr = pytest.importorskip("rapidocr")
    engine = rapidocr.RapidOCR(params={"Global.log_level": "error"})
    words = [("Opening hours: 9 to 17", 1.0), ("contact us at mail@example.org", 0.8), ("Room 4.12", 1.4)]
    upright = slide(*words)
    turn = cv2.getRotationMatrix2D((320, 180), 6, 1)
    tilted = np.asarray(cv2.warpAffine(upright, turn, (640, 360)), np.uint8)
    num_lines = 0
    for picture in (upright, tilted, slide()):
        found = rows(real, picture[None])
        theirs = engine(np.ascontiguousarray(picture[:, :, ::-1]))
        assert [row["text"] for row in found] == list(theirs.txts or ())
        for row, polygon in zip(found, theirs.boxes if found else [], strict=True):
            assert np.array(row["polygon"]) == pytest.approx(polygon.ravel(), abs=2)
        num_lines += len(found)
    assert num_lines >= 6


@pytest.mark.slow
def test_still_text_is_read_as_if_every_frame_were_looked_at(real: Text) -> None:
    page = slide(("Quarterly results", 1.1), ("small print, see page 17", 0.6))
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 2, (4, *page.shape))
    pixels = np.clip(page + noise, 0, 255).astype(np.uint8)
    every = Text(TextOptions(reuse=False), real.loaded)
    said = texts(rows(real, pixels), 4)
    assert said == texts(rows(every, pixels), 4) and len(said[0]) == 2
    # A file that is cut begins with an empty memory in the middle.
    assert said[2:] == texts(rows(real, pixels[2:]), 2)
