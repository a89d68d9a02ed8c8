"""DALI's variant for the host on rendered VP8, VP9 and MJPEG clips gives what PyAV gives."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from framemill.actors import dali_device, dali_reader
from framemill.actors.colour_matrices import to_ycc
from framemill.actors.dali_copies import Copy
from framemill.actors.dali_frames import DaliFrames, correction
from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_reader import read_shard_on_device
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.errors import DeviceLostError
from framemill.models.memory_plan import SESSIONS_PER_CALL
from framemill.ops.chunks import Audio, Frames
from tests.actors.clips import sine, turn, write_clip

NONE = np.zeros(0, np.int64)
SIZE = (96, 64)
# Largest mean differences, in steps of 255: both readers round, and DALI does twice where the matrix is not
# that of BT.601.
LUMA_STEPS, RGB_STEPS = 0.5, 0.5
TAGS = {"bt601": ("ITU601", 5), "bt709": ("ITU709", 1)}

needs_dali = pytest.mark.skipif(
    not dali_device._is_installed("nvidia.dali"), reason="DALI is not installed (extra `dali`)"
)


def smooth(count: int, width: int = 192, height: int = 128) -> list[npt.NDArray[np.uint8]]:
    """Drifting soft blotches of strong colours."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(20, 236, (5, 7, 3), np.uint8)
    large = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    return [large[3 * i % height :, 2 * i % width :][:height, :width].copy() for i in range(count)]


def clip(
    path: Path,
    count: int = 40,
    codec: str = "libvpx-vp9",
    matrix: str = "bt601",
    full: bool = False,
    **more: Any,
) -> Path:
    """A clip whose conversion from RGB is known and tagged."""
    name, tag = TAGS[matrix]
    frames = []
    for picture in smooth(count):
        frame = av.VideoFrame.from_ndarray(picture).reformat(
            format="yuvj420p" if codec == "mjpeg" else "yuv420p",
            dst_colorspace=name,
            dst_color_range="JPEG" if full else "MPEG",
        )
        frame.colorspace, frame.color_range = tag, 2 if full else 1
        frames.append(frame)
    options = {} if codec == "mjpeg" else {"crf": "8", "b": "0", "g": "12", "lag-in-frames": "8"}
    return write_clip(
        path,
        frames,
        codec=codec,
        pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        options=options,
        colorspace=tag,
        color_range=2 if full else 1,
        **more,
    )


def collect(chunks: Any) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        if not isinstance(chunk, Frames):
            continue
        boxes = np.tile(np.array([[20, 10, 120, 90]], np.float32), (len(chunk), 1))
        views = {
            "luma": chunk.luma(SIZE),
            "rgb": chunk.rgb(SIZE),
            "small_rgb": chunk.small_rgb((SIZE[0] // 2, SIZE[1] // 2)),
            "crop": chunk.crops(np.arange(len(chunk)), boxes, (50, 40)),
        }
        for row, frame in enumerate(chunk.frame_index.tolist()):
            assert frame not in found
            found[frame] = {name: view[row] for name, view in views.items()}
            found[frame] |= {
                "at": (chunk.pts_seconds[row], bool(chunk.is_key[row]), chunk.width, chunk.height),
                "jpeg": chunk.jpeg(80)[row],
            }
    return found


def both(path: Path, wanted: Any, decoder: Any = None) -> tuple[dict[int, Any], dict[int, Any], ReadReport]:
    """What PyAV and the device give for the same frames, and the device's report."""
    index = index_source(str(path))
    request = ReadRequest(np.array(list(wanted), np.int64), NONE, False, 1)
    expected = collect(read_shard(str(path), index, request, ReadReport()))
    report = ReadReport()
    decoder = decoder or DaliDecoder("cpu")
    return expected, collect(read_shard_on_device(str(path), index, request, report, decoder)), report


def assert_alike(expected: dict[int, Any], got: dict[int, Any]) -> None:
    assert list(got) == list(expected)
    for frame, views in expected.items():
        assert got[frame]["at"] == views["at"]
        for name, limit in (("luma", LUMA_STEPS), ("rgb", RGB_STEPS), ("crop", RGB_STEPS)):
            difference = np.abs(views[name].astype(int) - got[frame][name].astype(int)).mean()
            assert difference < limit, (frame, name, difference)
        assert cv2.imdecode(np.frombuffer(got[frame]["jpeg"], np.uint8), 1).shape == (*views["at"][:1:-1], 3)


@needs_dali
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libvpx-vp9", "webm"), ("libvpx-vp9", "mp4"), ("libvpx", "webm"), ("mjpeg", "mkv")]
)
@pytest.mark.parametrize("wanted", [range(40), range(0, 40, 12), [7, 8, 30]], ids=["all", "keys", "few"])
def test_frames_are_those_of_pyav(tmp_path: Path, codec: str, suffix: str, wanted: Any) -> None:
    path = clip(tmp_path / f"clip.{suffix}", codec=codec, full=codec == "mjpeg")
    expected, got, report = both(path, wanted)
    assert report.decoder == "dali on the cpu" and report.num_decoded == len(list(wanted))
    assert (report.num_missing, report.cut_off) == (0, False)
    assert_alike(expected, got)


@needs_dali
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_the_file(tmp_path: Path, matrix: str, full: bool) -> None:
    path = clip(tmp_path / "clip.webm", 6, matrix=matrix, full=full)
    expected, got, _ = both(path, range(6))
    assert_alike(expected, got)
    original = cv2.resize(smooth(1)[0], SIZE)
    assert np.abs(got[0]["rgb"].astype(int) - original.astype(int)).mean() < 2.5, "less what coding lost"


@needs_dali
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pictures(tmp_path: Path, degrees: int) -> None:
    path = turn(clip(tmp_path / "clip.mp4", 4), degrees)
    expected, got, report = both(path, range(4))
    assert report.decoder == "dali on the cpu"
    assert_alike(expected, got)


@needs_dali
def test_sound_comes_from_pyav_beside_the_pictures(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mkv", 25, tone=sine(1.0, 48_000))
    index = index_source(str(path))
    request = ReadRequest(np.arange(25), NONE, True, 1)
    report = ReadReport()
    chunks = list(read_shard_on_device(str(path), index, request, report, DaliDecoder("cpu")))
    assert sum(len(chunk) for chunk in chunks if isinstance(chunk, Frames)) == 25
    assert sum(len(chunk.samples) for chunk in chunks if isinstance(chunk, Audio)) == pytest.approx(
        16_000, abs=1100
    )
    assert report.num_missing == 0 and report.sound_seconds > 0.9


@needs_dali
def test_a_bad_copy_fails_alone(tmp_path: Path) -> None:
    good = clip(tmp_path / "clip.webm", 5).read_bytes()
    numbers = np.array([0, 3], np.int32)
    copies = [
        Copy(content, numbers.astype(np.int64), numbers) for content in (good, b"no video at all", good)
    ]
    first, bad, last = DaliDecoder("cpu").decode(copies)
    assert isinstance(bad, Exception)
    assert first.shape == last.shape == (2, 128, 192, 3)
    np.testing.assert_array_equal(first, last)


@needs_dali
def test_what_the_device_fails_at_is_read_by_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "clip.webm")
    decoder = DaliDecoder("cpu", decoded_bytes=SESSIONS_PER_CALL * 12 * 192 * 128 * 3)
    real = decoder._decode

    def failing(copies: Any, stream: Any) -> list[Any]:
        if any(12 in copy.frames for copy in copies):
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE in the parser")
        return real(copies, stream)

    monkeypatch.setattr(decoder, "_decode", failing)
    expected, got, report = both(path, range(40), decoder)
    assert_alike(expected, dict(sorted(got.items())))
    assert report.decoder == "pyav for 12 frames: CUDA_ERROR_INVALID_VALUE in the parser"
    assert (report.num_missing, report.cut_off, report.num_decoded) == (0, False, 40)


@needs_dali
def test_a_file_that_ends_early_gives_no_black_pictures(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.webm")
    index = index_source(str(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])  # after the index was made
    request = ReadRequest(np.arange(40), NONE, False, 1)
    report = ReadReport()
    got = collect(read_shard_on_device(str(path), index, request, report, DaliDecoder("cpu")))
    assert 0 < len(got) < 40 and list(got) == list(range(len(got)))
    assert all(views["rgb"].max() > 20 for views in got.values())
    assert report.num_missing == 40 - len(got) and report.cut_off


@pytest.mark.parametrize(
    ("codec", "changes", "words"),
    [
        ("libx264", {}, "the device decodes no h264"),
        ("libvpx-vp9", {"signals": np.arange(4)}, "every frame is looked at on the host"),
        ("libvpx-vp9", {"frames": NONE, "signals": np.arange(4)}, "no frames are wanted"),
    ],
)
def test_other_files_are_read_by_pyav_with_the_reason(
    tmp_path: Path, codec: str, changes: dict[str, Any], words: str
) -> None:
    path = write_clip(tmp_path / "clip.mkv", smooth(8), codec=codec)
    index = index_source(str(path))
    fields = {"frames": np.arange(8), "signals": NONE, "with_sound": False, "threads": 1} | changes
    report = ReadReport()
    request = ReadRequest(**fields)
    got = collect(read_shard_on_device(str(path), index, request, report, DaliDecoder("cpu")))
    assert list(got) == fields["frames"].tolist()
    assert report.decoder == f"pyav: {words}"


FRAME_BYTES = 192 * 128 * 3


@needs_dali
@pytest.mark.parametrize("wanted", [range(40), range(0, 40, 3)], ids=["all", "some"])
def test_groups_that_do_not_fit_are_decoded_in_parts_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Any
) -> None:
    passes, real = [], dali_reader._pass_over

    def counting(copy: Copy, *rest: Any) -> Any:
        passes.append(copy.frames.tolist())
        return real(copy, *rest)

    monkeypatch.setattr(dali_reader, "_pass_over", counting)
    path = clip(tmp_path / "clip.webm")
    expected, got, report = both(path, wanted, DaliDecoder("cpu", decoded_bytes=3 * FRAME_BYTES))
    assert_alike(expected, got)
    assert report.decoder == "dali on the cpu" and report.num_decoded == len(expected)
    # Groups of 12: the last holds one picture when all are wanted, and is decoded twice for the check.
    assert len(passes) in (3, 4, 5) and all(len(frames) > 3 for frames in passes)


@needs_dali
def test_a_pass_that_breaks_off_is_finished_by_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = dali_reader._pass_over

    def breaking(*given: Any) -> Any:
        for start, pictures in real(*given):
            if start >= 4:
                raise RuntimeError("the parser has no more")
            yield start, pictures

    monkeypatch.setattr(dali_reader, "_pass_over", breaking)
    path = clip(tmp_path / "clip.webm", 12)
    expected, got, report = both(path, range(12), DaliDecoder("cpu", decoded_bytes=5 * FRAME_BYTES))
    assert_alike(expected, got)
    assert report.decoder == "pyav for 8 frames: the parser has no more" and report.num_missing == 0


@needs_dali
def test_chunks_are_small_enough_for_what_is_made_of_them(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.webm", 20)
    index = index_source(str(path))
    request = ReadRequest(np.arange(20), NONE, False, 1)
    decoder = DaliDecoder("cpu", chunk_bytes=5 * FRAME_BYTES + 1)
    chunks = read_shard_on_device(str(path), index, request, ReadReport(), decoder)
    sizes = [len(chunk) for chunk in chunks if isinstance(chunk, Frames)]
    assert sum(sizes) == 20 and max(sizes) == 5


@needs_dali
def test_engines_outlive_the_threads_that_use_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is read ahead has a thread of its own; opening decoders for each would cost more."""
    content = clip(tmp_path / "clip.webm", 5).read_bytes()
    numbers = np.array([1, 2], np.int32)
    copy = Copy(content, numbers.astype(np.int64), numbers)
    decoder, opened, most, lock = DaliDecoder("cpu", readers=2), [], 0, threading.Lock()
    real, real_decode, running = dali_reader._open_engine, decoder._decode, 0

    def open_(device: str, num_threads: int) -> Any:
        opened.append(device)
        return real(device, num_threads)

    def counting(copies: Any, stream: Any) -> list[Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return real_decode(copies, stream)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(dali_reader, "_open_engine", open_)
    monkeypatch.setattr(decoder, "_decode", counting)
    found: list[Any] = []
    for _ in range(3):  # one after the other
        thread = threading.Thread(target=lambda: found.extend(decoder.decode([copy])))
        thread.start()
        thread.join()
    assert opened == ["cpu"]
    threads = [threading.Thread(target=lambda: found.extend(decoder.decode([copy]))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9 and all(array.shape == (2, 128, 192, 3) for array in found)
    assert len(opened) <= 2 and most <= 2


def test_views_of_a_device_reach_the_host_only_when_asked() -> None:
    strict = pytest.importorskip("array_api_strict")
    pixels = np.stack(smooth(3))
    at = (np.arange(3), np.arange(3) / 25, np.ones(3, bool), (192, 128), 0, "bt709")
    there, here = DaliFrames(strict.asarray(pixels), *at), DaliFrames(pixels, *at)
    assert here.on_host() is here and not isinstance(there.rgb(SIZE), np.ndarray)
    index, boxes = np.array([2, 0]), np.array([[1, 2, 60, 50], [9, 9, 300, 90]], np.float32)
    copied = there.on_host()
    for view in (
        lambda frames: frames.rgb(SIZE),
        lambda frames: frames.small_rgb(SIZE),
        lambda frames: frames.luma(SIZE),
        lambda frames: frames.luma(),
        lambda frames: frames.crops(index, boxes, (40, 30)),
    ):
        assert isinstance(view(copied), np.ndarray)
        np.testing.assert_array_equal(view(copied), view(here))
    assert copied.jpeg(90) == here.jpeg(90) and len(copied) == 3
    assert there.crops(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), (4, 4)).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("matrix", ["bt709", "bt2020"])
def test_the_correction_undoes_the_wrong_matrix(matrix: str) -> None:
    colours = np.random.default_rng(0).random((50, 3))
    coded = colours @ to_ycc(matrix).T
    wrong = coded @ np.linalg.inv(to_ycc("bt601")).T
    np.testing.assert_allclose(wrong @ correction(matrix).T, colours, atol=1e-6)
    assert np.abs(wrong - colours).max() > 0.05


@needs_dali
def test_a_lost_device_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "clip.webm")
    decoder = DaliDecoder("cpu")

    def failing(copies: Any, stream: Any) -> list[Any]:
        raise RuntimeError("CUDA runtime API error cudaErrorLaunchFailure (719):\nunspecified launch failure")

    monkeypatch.setattr(decoder, "_decode", failing)
    with pytest.raises(DeviceLostError, match=r"launch failure; look at the driver's log for Xid errors"):
        both(path, range(40), decoder)
