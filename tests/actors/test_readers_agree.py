"""What networks find in real clips is the same whoever decoded and converted the frames.

Two stand in for DALI on a GPU: its variant for the host, whose decoder is libavcodec and whose conversion is
libswscale's accurate one, and a conversion as its CUDA kernel does it (dali/operators/video/color_space.cu:
colours drawn linearly around the middles of their samples, rounded to bytes, mixed in floating point and
rounded). Those two differ from each other as much as either does from the frames of the host.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors import dali_device
from framemill.actors.colour_matrices import matrix_name
from framemill.actors.dali_frames import DaliFrames
from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_reader import read_shard_on_device
from framemill.actors.indexing import index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.models.session import open_model
from framemill.ops import load_op
from framemill.ops.chunks import Frames
from tests.actors.clips import write_clip
from tests.actors.device_stand_in import kernel_rgb
from tests.small_models import SMALL

Row = dict[str, Any]

OPS = ("objects", "faces", "image_embeddings")
# Of one box, and of all of a clip on average: what the network hardly sees answers to single steps of 255.
SCORE, MEAN_SCORE, COSINE = 0.03, 0.01, 0.999
# One frame's vector alone: the network answers to single steps of 255 in flat parts, and DALI rounds pictures
# of BT.709 twice, since it takes them for BT.601 (see `framemill.actors.dali_frames`).
WORST_COSINE = 0.998
COUNT = 8


@pytest.fixture(scope="module")
def ops(models_dir: Path) -> dict[str, Any]:
    opened = {}
    for name in OPS:
        kind = load_op(name)
        entry = SMALL[kind.models[0]]
        model = open_model(entry, models_dir / entry.file_name, 1, "cpu")[0]
        opened[name] = kind(kind.Options(), {kind.models[0]: model})
    return opened


def as_vp9(source: Path, target: Path) -> Path:
    """A few frames, spread over the first 400, of even size; DALI's variant for the host decodes no H.264."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        step = min(stream.frames or 200, 400) // COUNT
        picked = [
            f for i, f in zip(range(step * COUNT), container.decode(stream), strict=False) if i % step == 0
        ]
    width, height = picked[0].width & ~1, picked[0].height & ~1
    frames = []
    for frame in picked:
        same = (frame.width, frame.height, frame.format.name) == (width, height, "yuv420p")
        frames.append(frame if same else frame.reformat(width=width, height=height, format="yuv420p"))
        frames[-1].time_base = Fraction(1, 25)
    options = {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0", "g": "4"}
    return write_clip(target, frames, codec="libvpx-vp9", options=options, color_range=1)


def by_kernel(frames: PyavFrames) -> DaliFrames:
    """The same decoded frames as DALI's kernel converts them, always with the matrix of BT.601."""
    pictures = np.stack([kernel_rgb(frame) for frame in frames._frames])
    first = frames._frames[0]
    at = (frames.frame_index, frames.pts_seconds, frames.is_key, (frames.width, frames.height), 0)
    return DaliFrames(pictures, *at, matrix_name(int(first.colorspace), first.height))


def by_dali(path: str, index: Any, request: ReadRequest) -> list[Frames]:
    report = ReadReport()
    chunks = list(read_shard_on_device(path, index, request, report, DaliDecoder("cpu")))
    assert report.decoder == "dali on the cpu"
    return [chunk for chunk in chunks if isinstance(chunk, Frames)]


def rows_of(op: Any, chunks: list[Any]) -> list[Row]:
    return [row for chunk in chunks for row in op.run(chunk, {}).to_pylist()]


def overlap(a: dict[str, float], b: dict[str, float]) -> float:
    wide = min(a["x1"], b["x1"]) - max(a["x0"], b["x0"])
    high = min(a["y1"], b["y1"]) - max(a["y0"], b["y0"])
    shared = max(wide, 0) * max(high, 0)
    total = sum((box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) for box in (a, b))
    return shared / (total - shared)


def assert_same_boxes(here: list[Row], there: list[Row], floor: float, width: int, height: int) -> int:
    """Each row has its like, unless it would have none if its score were as much lower as is allowed.

    Returns:
        How many pairs there are.
    """
    apart: list[float] = []
    for one, other in ((here, there), (there, here)):
        for row in one:
            key = (row["frame_index"], row.get("label"))
            likes = [r for r in other if (r["frame_index"], r.get("label")) == key]
            like = max(likes, key=lambda r: overlap(row["box"], r["box"]), default=None)
            if like is None or overlap(row["box"], like["box"]) < 0.5:
                assert row["score"] < floor + SCORE, row
                continue
            apart.append(abs(row["score"] - like["score"]))
            assert apart[-1] <= SCORE, (row, like)
            for edge, value in row["box"].items():
                side = width if edge.startswith("x") else height
                assert abs(value - like["box"][edge]) <= 1 + 0.01 * side, (row, like)
    assert not apart or np.mean(apart) <= MEAN_SCORE, apart
    return len(apart) // 2


def assert_same_vectors(here: list[Row], there: list[Row], worst: float) -> None:
    cosines = [np.dot(a["vector"], b["vector"]) for a, b in zip(here, there, strict=True)]
    assert len(cosines) == COUNT
    assert np.mean(cosines) >= COSINE and min(cosines) >= worst, cosines


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least_objects"),
    [
        ("car-detection.mp4", 3), ("one-by-one-person-detection.mp4", 6), ("bottle-detection.mp4", 20),
        ("video_big_buck_bunny.mp4", 4), ("dog_eating_854132.mp4", 6), ("pose_squats.mp4", 8),
        ("testvideo.mp4", 4), ("bigbuckbunny.mp4", 6), ("fades.mp4", 0),
    ],
)  # fmt: skip
def test_rows_are_those_of_the_kernel(
    media_dir: Path, ops: dict[str, Any], tmp_path: Path, name: str, least_objects: int
) -> None:
    path = str(as_vp9(media_dir / "video" / name, tmp_path / "clip.webm"))
    index = index_source(path)
    width, height = index.display_width, index.display_height
    request = ReadRequest(np.arange(len(index.frames)), np.zeros(0, np.int64), False, 1)
    here = [
        chunk for chunk in read_shard(path, index, request, ReadReport()) if isinstance(chunk, PyavFrames)
    ]
    there = [by_kernel(chunk) for chunk in here]
    found = {op: (rows_of(ops[op], here), rows_of(ops[op], there)) for op in OPS}
    for op in ("objects", "faces"):
        pairs = assert_same_boxes(*found[op], ops[op].options.score, width, height)
        assert op == "faces" or pairs >= least_objects
    is_601 = height < 720
    assert_same_vectors(*found["image_embeddings"], COSINE if is_601 else WORST_COSINE)


@pytest.mark.media
@pytest.mark.skipif(
    not dali_device._is_installed("nvidia.dali"), reason="DALI is not installed (extra `dali`)"
)
@pytest.mark.parametrize(
    "name",
    [
        "bbb_642x642_30fps_vp9.webm",
        pytest.param("car-detection.mp4", marks=pytest.mark.slow),
        pytest.param("one-by-one-person-detection.mp4", marks=pytest.mark.slow),
        pytest.param("video_big_buck_bunny.mp4", marks=pytest.mark.slow),
        pytest.param("pose_squats.mp4", marks=pytest.mark.slow),
        pytest.param("testvideo.mp4", marks=pytest.mark.slow),
    ],
)
def test_rows_are_those_of_dali(media_dir: Path, ops: dict[str, Any], tmp_path: Path, name: str) -> None:
    source = media_dir / "video" / name
    path = str(source if source.suffix == ".webm" else as_vp9(source, tmp_path / "clip.webm"))
    index = index_source(path)
    wanted = np.arange(0, len(index.frames), len(index.frames) // COUNT)[:COUNT]
    request = ReadRequest(wanted, np.zeros(0, np.int64), False, 1)
    readings = (list(read_shard(path, index, request, ReadReport())), by_dali(path, index, request))
    found = {op: (rows_of(ops[op], readings[0]), rows_of(ops[op], readings[1])) for op in OPS}
    for op in ("objects", "faces"):
        floor = ops[op].options.score
        pairs = assert_same_boxes(*found[op], floor, index.display_width, index.display_height)
        assert op == "faces" or pairs >= 2
    assert_same_vectors(*found["image_embeddings"], WORST_COSINE)
