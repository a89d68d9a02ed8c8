"""Media in an object store: the same answers as from a file, from far fewer bytes."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framemill.actors import object_store, range_reader
from framemill.actors.indexing import SourceIndex, index_and_keep, index_source
from framemill.actors.range_reader import RangeReader
from framemill.actors.safe_open import open_media
from framemill.errors import CorruptError, MediaError, UnreadableError, UnsupportedError
from tests.actors.clips import moving, write_clip
from tests.actors.kinds import KINDS
from tests.actors.reading import read
from tests.actors.real import long_ones_apart, real_files
from tests.object_stores import Bucket

DATA = np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are then read as large ones are: in many pieces, with stretches left out."""
    monkeypatch.setattr(range_reader, "BLOCK_BYTES", 512)
    monkeypatch.setattr(range_reader, "LEAST_GAP_BYTES", 1)


@pytest.fixture(scope="module")
def data_uri(s3_server: Any) -> str:
    return Bucket(s3_server).put("data.bin", DATA)


def read_all(file: RangeReader, num_bytes: int) -> bytes:
    """As FFmpeg does: again until it is enough or the end."""
    pieces = []
    while num_bytes and (piece := file.read(num_bytes)):
        pieces.append(piece)
        num_bytes -= len(piece)
    return b"".join(pieces)


SPANS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 900)), max_size=4)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=SPANS,
    reads=st.lists(st.tuples(st.integers(0, 5200), st.integers(0, 2000)), max_size=12),
    knows_ahead=st.booleans(),
)
def test_bytes_are_those_of_the_object_but_for_the_gaps(
    data_uri: str, gaps: list[tuple[int, int]], reads: list[tuple[int, int]], knows_ahead: bool
) -> None:
    told = bytearray(DATA)
    left_out: list[tuple[int, int]] = []
    for start, length in sorted(gaps):
        end = min(len(DATA), start + length)
        if start < end and (not left_out or start > left_out[-1][1]):
            left_out.append((start, end))
            told[start:end] = bytes(end - start)
    file = RangeReader(data_uri)
    blocks = sorted({at // 512 for at, value in enumerate(told) if value})
    file.skip(left_out, blocks if knows_ahead else None)
    for at, count in reads:
        assert file.seek(at) == at
        assert read_all(file, count) == bytes(told[at : at + count])
        assert file.tell() == min(max(len(DATA), at), at + count)
    assert (file.seek(-10, 2), read_all(file, 99)) == (4990, bytes(told[4990:]))


def assert_same_index(here: SourceIndex, there: SourceIndex) -> None:
    for field in dataclasses.fields(SourceIndex):
        a, b = getattr(here, field.name), getattr(there, field.name)
        if field.name == "is_uneven":  # packets that were not fetched are looked at when they are read
            assert a or not b
            continue
        if field.name == "description":
            a, b = dataclasses.replace(a, uri=""), dataclasses.replace(b, uri="")
        elif dataclasses.is_dataclass(a):
            a, b = dataclasses.astuple(cast(Any, a)), dataclasses.astuple(cast(Any, b))
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)), field.name
            continue
        assert a == b, field.name


def assert_reads_the_same(path: Path, uri: str) -> None:
    """Index, key frames, a few others, signals and sound are those of the local file."""
    try:
        here = index_source(str(path))
    except MediaError as error:
        with pytest.raises(type(error)):
            index_source(uri)
        return
    there = index_source(uri)
    assert_same_index(here, there)
    keys = np.flatnonzero(here.frames.is_key)[:40]
    few = np.arange(3, len(here.frames), 17)[:20]
    for wanted in ({"frames": keys, "signals": few}, {"frames": few, "with_sound": True}):
        a = read(path, here, **cast(Any, wanted))
        b = read(cast(Any, uri), there, **cast(Any, wanted))
        assert a.digests == b.digests
        assert a.report == b.report
        for i, planes in a.signals.items():
            assert all(np.array_equal(x, y) for x, y in zip(planes, b.signals[i], strict=True))
        assert [piece.samples.tobytes() for piece in a.sound] == [p.samples.tobytes() for p in b.sound]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_reads_the_same(tmp_path: Path, bucket: Bucket, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    assert_reads_the_same(path, bucket.put(path.name, path))


@pytest.mark.media
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "name", long_ones_apart([name for name in real_files("video") if not str(name).endswith((".ts", ".mp3"))])
)
def test_real_files_read_the_same(media_dir: Path, bucket: Bucket, name: str) -> None:
    path = media_dir / name
    assert_reads_the_same(path, bucket.put(path.name, path))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of Full HD with a key frame each, and sound; its tables lie at the end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng = np.random.default_rng(2)
    grain = rng.integers(0, 60, (7, 540, 960, 1), np.uint8).repeat(2, 1).repeat(2, 2)
    still = moving(1, 1920, 1080)[0] // 2
    # Grain that nothing predicts: a film of many bits.
    pictures = ((still + grain[i % 7]).astype(np.uint8) for i in range(75))
    tone = np.sin(np.arange(144_000) / 20).astype(np.float32)
    options = {"preset": "ultrafast", "crf": "32", "g": "25"}
    return write_clip(path, pictures, options=options, tone=tone)


def test_key_frames_of_a_film_cost_a_fraction_of_it(film: Path, bucket: Bucket) -> None:
    uri = bucket.put("film.mp4", film)
    here, there = index_source(str(film)), index_source(uri)
    assert_same_index(here, there)
    indexed = bucket.served("film.mp4")
    keys = np.flatnonzero(here.frames.is_key)
    assert read(film, here, keys).digests == read(cast(Any, uri), there, keys).digests
    size = film.stat().st_size
    key_bytes = int(here.frames.packet_bytes[keys].sum())
    assert size > 3_000_000
    # Of a key frame no more is fetched than it fills blocks; the index takes the tables and two frames.
    assert indexed < 2_500_000
    assert bucket.served("film.mp4") < indexed + key_bytes + len(keys) * 2 * range_reader.BLOCK_BYTES
    assert bucket.served("film.mp4") < size / 3


def test_nothing_is_fetched_twice_for_all_frames(film: Path, bucket: Bucket) -> None:
    uri = bucket.put("film.mp4", film)
    index = index_source(uri)
    heard = read(cast(Any, uri), index, np.arange(0, len(index.frames), 25), with_sound=True)
    assert len(heard.digests) == 3
    assert bucket.served("film.mp4") <= film.stat().st_size + range_reader.BLOCK_BYTES
    index, container = index_and_keep(uri)
    assert container is None  # its buffers may hold zeros of what the index left out


def test_little_is_asked_for_at_once_and_more_when_it_goes_on(film: Path, bucket: Bucket) -> None:
    file = RangeReader(bucket.put("film.mp4", film))
    num_requests = len(bucket.server.requests)
    read_all(file, file.num_bytes)
    assert len(bucket.server.requests) - num_requests < 16
    fetched = bucket.served("film.mp4")
    other = RangeReader(bucket.put("other.mp4", film))
    other.seek(3_000_000)
    other.read(10)
    assert bucket.served("other.mp4") <= range_reader.BLOCK_BYTES < fetched


def test_memory_for_blocks_is_bounded(film: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = range_reader._BlockCache(1_000_000)
    monkeypatch.setattr(range_reader, "_blocks", blocks)
    file = RangeReader(bucket.put("film.mp4", film))
    assert read_all(file, file.num_bytes) == film.read_bytes()
    assert sum(map(len, blocks._cached.values())) <= 1_000_000


def test_storage_that_fails_now_and_then_is_asked_again(tmp_path: Path, bucket: Bucket) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(30))
    uri = bucket.put("a.mp4", path)
    count = [0]

    def refuse(request: Any) -> bool:
        count[0] += request[1].endswith("a.mp4")
        return bool(count[0] % 3)  # two of three

    bucket.server.refuse = refuse
    assert_same_index(index_source(str(path)), index_source(uri))
    assert count[0] >= 6


@pytest.mark.usefixtures("small_blocks")
def test_storage_that_keeps_failing_names_the_remedy(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put("a.mp4", write_clip(tmp_path / "a.mp4", moving(200, 320, 240)))
    monkeypatch.setattr(range_reader, "_blocks", range_reader._BlockCache(0))  # each opening asks anew
    store = object_store.open_store("s3", bucket.name, retries=1)
    monkeypatch.setattr(range_reader, "open_store", lambda *_: store)
    seen, allowed = [0], [1 << 30]

    def refuse(request: Any) -> bool:
        seen[0] += request[0] == "GET"
        return request[0] == "GET" and seen[0] > allowed[0]

    bucket.server.refuse = refuse
    index = index_source(uri)
    in_index, seen[0] = seen[0], 0
    read(cast(Any, uri), index, [0, 100])
    in_reading = seen[0]
    assert min(in_index, in_reading) >= 4
    # Wherever it begins to fail, reading never ends as if the file were complete.
    why = "the storage answered 503 Told every time; the next run tries again"
    for after in range(0, in_index, max(1, in_index // 6)):
        seen[0], allowed[0] = 0, after
        with pytest.raises(UnreadableError, match=why):
            index_source(uri)
    for after in range(0, in_reading, max(1, in_reading // 6)):
        seen[0], allowed[0] = 0, after
        with pytest.raises(UnreadableError, match=why):
            read(cast(Any, uri), index, [0, 100])
    assert UnreadableError.transient


def test_an_object_that_changes_while_it_is_read_is_no_mixture(film: Path, bucket: Bucket) -> None:
    file = RangeReader(bucket.put("film.mp4", film))
    assert file.read(100)
    bucket.put("film.mp4", film.read_bytes()[::-1])
    file.seek(2_000_000)
    with pytest.raises(UnreadableError, match="it was changed while it was read"):
        file.read(100)


def test_what_is_no_media_is_told_apart(bucket: Bucket) -> None:
    other = bucket.put("inside.mp4", b"not this")
    for name, data, error in (
        ("empty.mp4", b"", CorruptError),
        ("noise.mp4", DATA, CorruptError),
        ("list.m3u8", f"#EXTM3U\n#EXTINF:1,\n{other}\n".encode(), (CorruptError, UnsupportedError)),
        (
            "list.mp4",
            f"#EXTM3U\n#EXTINF:1,\n{bucket.server.url}/x\n".encode(),
            (CorruptError, UnsupportedError),
        ),
    ):
        uri = bucket.put(name, data)
        before = len(bucket.server.requests)
        with pytest.raises(error):
            open_media(uri)
        asked = {path for _, path, _ in bucket.server.requests[before:]}
        assert asked == {f"/{bucket.name}/{name}"}  # never what a playlist names
    with pytest.raises(UnreadableError, match="nothing is there"):
        open_media(bucket.uri("absent.mp4"))
    with pytest.raises(UnreadableError, match="nothing is there"):
        open_media("s3://no-such-bucket-here/a.mp4")


def test_reading_ahead_hides_the_way_to_the_store(film: Path, bucket: Bucket) -> None:
    """With 30 ms for each answer, key frames do not wait for one another."""
    uri = bucket.put("film.mp4", film)
    index = index_source(uri)

    def slowly(request: Any) -> bool:
        time.sleep(0.03)
        return False

    bucket.server.refuse = slowly
    range_reader._blocks = range_reader._BlockCache(range_reader.CACHE_BYTES)
    asked = len(bucket.server.requests)
    read(cast(Any, uri), index, np.flatnonzero(index.frames.is_key))
    assert len(bucket.server.requests) - asked < 12
