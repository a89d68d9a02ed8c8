"""Nothing but the file itself is ever read, and nothing that cannot end is opened."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.safe_open import MAX_PIXELS, open_media, rewind
from framemill.errors import (
    CorruptError,
    LimitError,
    MediaError,
    UnreadableError,
    UnsupportedError,
    UsageError,
)
from tests.actors.clips import moving, remux, sine, write_clip
from tests.actors.kinds import KINDS
from tests.hostile import HOSTILE, Canary, Material, canary_server, png_video

NAMES_OTHERS = [
    name for name in HOSTILE if name.split(".")[0] in ("playlist", "concat", "session", "manifest", "address")
]
ENDINGS = ("mp4", "ts", "m3u8", "mpd", "sdp", "ffconcat", "txt")


@pytest.fixture(scope="module")
def canary_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    with canary_server(KINDS["transport_stream"](tmp_path_factory.mktemp("canary"))) as served:
        yield served


@pytest.fixture
def canary(canary_served: Canary) -> Canary:
    canary_served.hits.clear()
    return canary_served


def forms(canary: Canary) -> dict[str, str]:
    """Texts that make players open the canary."""
    path, url = canary.path, canary.url
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n"
    return {
        "hls of a file": f"{head}#EXTINF:2.0,\n{path}\n#EXT-X-ENDLIST\n",
        "hls of a relative file": f"{head}#EXTINF:2.0,\n{path.name}\n#EXT-X-ENDLIST\n",
        "hls of an address": f"{head}#EXTINF:2.0,\n{url}\n#EXT-X-ENDLIST\n",
        "hls key": f'{head}#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:2.0,\n{path}\n#EXT-X-ENDLIST\n',
        "hls map": f'{head}#EXT-X-MAP:URI="{url}"\n#EXTINF:2.0,\n{path}\n#EXT-X-ENDLIST\n',
        "hls of a subfile": f"{head}#EXTINF:2.0,\nsubfile,,start,0,end,0,,:{path}\n#EXT-X-ENDLIST\n",
        "hls of concat": f"{head}#EXTINF:2.0,\nconcat:{path}|{path}\n#EXT-X-ENDLIST\n",
        "master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
        "concat": f"ffconcat version 1.0\nfile '{path}'\nfile '{url}'\n",
        "sdp": f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=video {canary.port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
        "address": url + "\n",
        "rtsp": f"RTSPtext\nrtsp://127.0.0.1:{canary.port}/x\n",
        "reference": f"[Reference]\r\nRef1={url}\r\n",
        "smooth": f'<?xml version="1.0"?><SmoothStreamingMedia><c Url="{url}"/></SmoothStreamingMedia>',
    }


def opened(source: Any) -> bool:
    """Whether anything could be opened and read; the errors must be ours."""
    try:
        with open_media(source) as container:
            for _ in container.demux():
                pass
    except MediaError:
        return False
    except av.error.FFmpegError:
        return True  # opened, but not to be read
    return True


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", list(forms(Canary(1, Path("x")))))
def test_texts_that_name_others_open_nothing(tmp_path: Path, canary: Canary, form: str, ending: str) -> None:
    path = tmp_path / f"posing.{ending}"
    path.write_text(forms(canary)[form])
    assert not opened(str(path))
    with path.open("rb") as file:
        assert not opened(file)
    content = io.BytesIO(path.read_bytes())
    content.name = str(path)  # PyAV tells the demuxers the name of a file object
    assert not opened(content)
    assert canary.hits == []
    with pytest.raises(MediaError):
        index_source(str(path))


def test_the_canary_sings_for_those_who_ask(tmp_path: Path, canary: Canary) -> None:
    """The traps above work: an open without our limits walks into one of them."""
    path = tmp_path / "posing.m3u8"
    path.write_text(forms(canary)["hls of an address"])
    options = {"protocol_whitelist": "file,http,tcp", "extension_picky": "0"}
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path), options=options, timeout=5):
        pass
    assert canary.hits
    path.write_text(forms(canary)["hls of a file"])
    with av.open(str(path), options={**options, "allowed_extensions": "ALL"}) as container:
        assert len(container.streams) == 2, "the canary file"


@pytest.mark.parametrize("name", NAMES_OTHERS)
def test_hostile_files_by_path_and_by_object(tmp_path: Path, canary: Canary, name: str) -> None:
    path = tmp_path / name
    HOSTILE[name][1](path, Material(canary.path, canary))
    assert not opened(str(path))
    with path.open("rb") as file:
        assert not opened(file)
    assert canary.hits == []


def test_an_mp4_that_keeps_its_media_elsewhere_does_not_get_it(tmp_path: Path) -> None:
    """The data reference of a track may name another file (ISO/IEC 14496-12, 8.7.2)."""
    elsewhere = KINDS["b_frames"](tmp_path)
    data = bytearray(elsewhere.read_bytes())
    at = data.index(b"url \0\0\0\1")
    data[at + 7] = 0  # "in the same file" is no longer said
    path = tmp_path / "outer.mp4"
    path.write_bytes(data)
    with open_media(str(path)) as container:
        assert len(container.streams) == 2


def test_pipes_folders_and_absent_files_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    started = time.monotonic()
    with pytest.raises(UnsupportedError, match="not a regular file"):
        open_media(str(pipe))
    for other in (str(tmp_path), "/dev/zero"):
        with pytest.raises(UnsupportedError, match="not a regular file"):
            open_media(other)
    for absent in (str(tmp_path / "absent.mp4"), "pipe:0", "a\0b", "-"):
        with pytest.raises(UnreadableError):
            open_media(absent)
    with pytest.raises(UsageError, match="cannot be read"):
        open_media("http://127.0.0.1:9/x.mp4")
    assert time.monotonic() - started < 2


def test_names_that_look_like_addresses_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = KINDS["b_frames"](tmp_path)
    for name in ("http:clip.mp4", "concat:a|b.mp4", "-i.mp4", "%03d.mp4", "pipe:0.mp4"):
        Path(name).write_bytes(clip.read_bytes())
        with open_media(name) as container:
            assert len(container.streams) == 2


def test_empty_and_other_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(CorruptError, match="empty"):
        open_media(str(empty))
    text = tmp_path / "text.mp4"
    text.write_text("not a film\n" * 200)
    with pytest.raises((CorruptError, UnsupportedError)):
        open_media(str(text))


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.mov"
    png_video(path, 30_000, 30_000)
    with pytest.raises(MediaError):
        index_source(str(path))
    large = tmp_path / "large.mov"
    png_video(large, 16_000, 16_000)
    with pytest.raises(LimitError, match=f"16000 x 16000; at most {MAX_PIXELS} pixels"):
        open_media(str(large))


def test_a_picture_larger_than_its_header_says_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "liar.mov"
    png_video(path, 16_000, 64)
    with pytest.raises(MediaError):
        index_source(str(path))


def test_file_objects_open_as_paths_do(tmp_path: Path) -> None:
    path = KINDS["b_frames"](tmp_path)
    with open_media(str(path)) as by_path, path.open("rb") as file, open_media(file) as by_object:
        assert [s.type for s in by_path.streams] == [s.type for s in by_object.streams]
        assert sum(p.size for p in by_path.demux()) == sum(p.size for p in by_object.demux())


def test_looking_less_ahead_gives_the_same_packets(tmp_path: Path) -> None:
    path = KINDS["b_frames"](tmp_path)
    packets = []
    for look_ahead in (True, False):
        with open_media(str(path), look_ahead) as container:
            packets.append([(p.stream_index, p.pts, p.dts, p.size, p.is_keyframe) for p in container.demux()])
    assert packets[0] == packets[1]


@pytest.mark.parametrize("kind", ["b_frames", "matroska", "late_start", "fragmented", "long_gops"])
def test_rewind_reaches_the_first_packet(tmp_path: Path, kind: str) -> None:
    with open_media(str(KINDS[kind](tmp_path))) as container:
        first = [(p.pts, p.size) for p in container.demux(video=0)]
        rewind(container)
        assert [(p.pts, p.size) for p in container.demux(video=0)] == first


def test_rewind_reaches_packets_before_time_0(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "p.mov", moving(20), codec="prores_ks", pixel_format="yuv422p10le")
    path = tmp_path / "early.mp4"
    with av.open(str(source)) as given, av.open(str(path), "w", format="mov") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                step = packet.duration or 1
                packet.pts = packet.dts = (packet.pts or 0) - 5 * step
                packet.stream = stream
                made.mux(packet)
    with open_media(str(path)) as container:
        first = [p.pts for p in container.demux(video=0) if p.size]
        rewind(container)
        assert [p.pts for p in container.demux(video=0) if p.size] == first


def test_metadata_that_is_no_text_does_not_stop(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "m.mkv", moving(3), tone=sine(0.2, 48000))
    titled = tmp_path / "t.mkv"
    remux(path, titled)
    data = titled.read_bytes().replace(b"Lavf", b"\xff\xfe\xfd\xfc")
    titled.write_bytes(data)
    with open_media(str(titled)) as container:
        assert len(container.streams) == 2
