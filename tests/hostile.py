"""Makers of hostile inputs: each writes one file into a folder and says what must become of it."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

HUGE = 30_000  # pixels a side, claimed by headers; FFmpeg itself refuses to believe them
LARGE = 16_000  # pixels a side that FFmpeg would decode


class Fate(Enum):
    """What a run owes to an input found in a folder."""

    FAILED = "one row in errors, no rows elsewhere"
    PARTIAL = "rows of what could be decoded, status partial"
    REFUSED = "skipped as no media, or one row in errors; no rows elsewhere"
    SURVIVED = "any outcome: the run goes on"


@dataclass(slots=True)
class Canary:
    """Things that nobody may touch: an address that counts its visitors, and a file."""

    port: int
    path: Path
    hits: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/canary.ts"


@contextmanager
def canary_server(path: Path) -> Iterator[Canary]:
    """Serves `path` on loopback to whoever asks, and notes every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            canary.hits.append(self.path)
            body = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Silent: requests are in `hits`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    canary = Canary(server.server_port, path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield canary
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Material:
    """What makers work with: a sound clip (index at its end), and the canaries."""

    clip: Path
    canary: Canary


Maker = Callable[[Path, Material], None]
HOSTILE: dict[str, tuple[Fate, Maker]] = {}  # file name -> fate and maker


def hostile(name: str, fate: Fate) -> Callable[[Maker], Maker]:
    def note(maker: Maker) -> Maker:
        HOSTILE[name] = (fate, maker)
        return maker

    return note


def write_hostile(folder: Path, material: Material) -> None:
    """Writes every hostile input into the folder."""
    for name, (_, maker) in HOSTILE.items():
        maker(folder / name, material)


# Damaged


@hostile("empty.mp4", Fate.FAILED)
def empty(path: Path, material: Material) -> None:
    path.touch()


@hostile("garbage.mp4", Fate.FAILED)
def garbage(path: Path, material: Material) -> None:
    path.write_bytes(bytes((i * 197 + i // 7 * 31) % 251 for i in range(100_000)))


@hostile("renamed_text.mp4", Fate.FAILED)
def renamed_text(path: Path, material: Material) -> None:
    path.write_text("Dear diary, this is not a video.\n" * 50)


@hostile("cut_off_without_index.mp4", Fate.FAILED)
def cut_off_without_index(path: Path, material: Material) -> None:
    path.write_bytes(material.clip.read_bytes()[: material.clip.stat().st_size // 2])


@hostile("cut_off.mp4", Fate.PARTIAL)
def cut_off(path: Path, material: Material) -> None:
    remux(material.clip, path, {"movflags": "+faststart"})
    os.truncate(path, path.stat().st_size * 6 // 10)


@hostile("no_streams.mkv", Fate.FAILED)
def no_streams(path: Path, material: Material) -> None:
    ebml = bytes.fromhex("1a45dfa3 8b 4282 88".replace(" ", "")) + b"matroska"
    info = bytes.fromhex("1549a966 87 2ad7b1 83 0f4240".replace(" ", ""))
    path.write_bytes(ebml + bytes.fromhex("18538067") + bytes([0x80 | len(info)]) + info)


@hostile("giant_box.mp4", Fate.FAILED)
def giant_box(path: Path, material: Material) -> None:
    ftyp = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom")
    giant = struct.pack(">I4sQ", 1, b"moov", 2**62) + struct.pack(">I4s", 2**32 - 1, b"trak")
    path.write_bytes(ftyp + giant + b"\0" * 1000)


@hostile("encrypted.mp4", Fate.FAILED)
def encrypted(path: Path, material: Material) -> None:
    key = "00112233445566778899aabbccddeeff"
    remux(
        material.clip,
        path,
        {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key},
    )


@hostile("absurd_counts.mp4", Fate.SURVIVED)
def absurd_counts(path: Path, material: Material) -> None:
    data = bytearray(material.clip.read_bytes())
    for box, offset in ((b"stts", 12), (b"stsz", 12), (b"stsz", 8)):
        at = data.index(box) + offset
        data[at : at + 4] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)


@hostile("absurd_times.mkv", Fate.SURVIVED)
def absurd_times(path: Path, material: Material) -> None:
    remux(material.clip, path, {}, jump_seconds=10**8)


# Too large


def png_header(side: int) -> bytes:
    """A grey 1-bit PNG of side x side zeros: a hundred kilobytes that unpack to a hundred megabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join([packer.compress(row * 100) for _ in range(side // 100)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@hostile("huge.png", Fate.REFUSED)
@hostile("huge_picture.mp4", Fate.FAILED)
def huge_picture(path: Path, material: Material) -> None:
    path.write_bytes(png_header(HUGE))


def png_video(path: Path, side: int, claimed: int) -> None:
    """A film of one PNG of side x side whose container claims another size."""
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("png", rate=1, width=claimed, height=claimed)
        packet = av.Packet(png_header(side))
        packet.stream, packet.time_base = stream, Fraction(1, 1)
        packet.pts = packet.dts = 0
        packet.is_keyframe = True
        container.mux(packet)


@hostile("huge_declared.mov", Fate.FAILED)
def huge_declared(path: Path, material: Material) -> None:
    png_video(path, HUGE, HUGE)


@hostile("large_declared.mov", Fate.FAILED)
def large_declared(path: Path, material: Material) -> None:
    png_video(path, LARGE, LARGE)


@hostile("large_undeclared.mov", Fate.FAILED)
def large_undeclared(path: Path, material: Material) -> None:
    png_video(path, LARGE, 64)


@hostile("huge.h264", Fate.FAILED)
def huge_h264(path: Path, material: Material) -> None:
    """A sequence header of the baseline profile, level 5.1 (H.264 7.3.2.1.1), then a key slice of nothing."""

    def golomb(*values: int) -> str:
        return "".join("0" * (len(f"{v + 1:b}") - 1) + f"{v + 1:b}" for v in values)

    blocks = HUGE // 16 - 1
    sequence = golomb(0, 0, 0, 0, 1) + "0" + golomb(blocks, blocks) + "1" + "1" + "0" + "0"
    picture = golomb(0, 0) + "00" + golomb(0, 0, 0) + "000" + golomb(0, 0, 0) + "000"
    units = [b"\x67\x42\x00\x33" + bits(sequence), b"\x68" + bits(picture), b"\x65\x88" + b"\x5a" * 500]
    path.write_bytes(b"".join(b"\0\0\0\1" + unit for unit in units) * 3)


def bits(text: str) -> bytes:
    """Bits with the stop bit that ends a unit, as bytes."""
    text += "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@hostile("bomb.gif", Fate.FAILED)
def gif_bomb(path: Path, material: Material) -> None:
    screen = struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    picture = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\0"
    path.write_bytes(b"GIF89a" + screen + picture * 100 + b";")


# Files that name other files and addresses


def playlist(canary: Canary) -> str:
    segments = "".join(f"#EXTINF:2.0,\n{target}\n" for target in (canary.url, canary.path))
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n{segments}#EXT-X-ENDLIST\n"


@hostile("playlist.mp4", Fate.FAILED)
@hostile("playlist.m3u8", Fate.REFUSED)
def hls(path: Path, material: Material) -> None:
    path.write_text(playlist(material.canary))


@hostile("concat.mp4", Fate.FAILED)
@hostile("concat.ffconcat", Fate.REFUSED)
def concat(path: Path, material: Material) -> None:
    canary = material.canary
    path.write_text(f"ffconcat version 1.0\nfile '{canary.path}'\nfile '{canary.url}'\n")


@hostile("session.mp4", Fate.FAILED)
@hostile("session.sdp", Fate.REFUSED)
def sdp(path: Path, material: Material) -> None:
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0"]
    lines += [f"m=video {material.canary.port} RTP/AVP 96", "a=rtpmap:96 H264/90000"]
    path.write_text("\r\n".join(lines) + "\r\n")


@hostile("manifest.mp4", Fate.FAILED)
@hostile("manifest.mpd", Fate.REFUSED)
def dash(path: Path, material: Material) -> None:
    path.write_text(
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000" codecs="avc1.42c01e">'
        f"<BaseURL>{material.canary.url}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


@hostile("address.mp4", Fate.FAILED)
@hostile("address.txt", Fate.REFUSED)
def address(path: Path, material: Material) -> None:
    path.write_text(material.canary.url + "\n")


# Not plain files


@hostile("folder.mp4", Fate.REFUSED)
def folder_named_as_file(path: Path, material: Material) -> None:
    path.mkdir()


@hostile("pipe.mp4", Fate.REFUSED)
def pipe(path: Path, material: Material) -> None:
    os.mkfifo(path)


@hostile("dangling.mp4", Fate.REFUSED)
def dangling(path: Path, material: Material) -> None:
    path.symlink_to(path.parent / "nowhere.mp4")


@hostile("loop", Fate.REFUSED)
def loop(path: Path, material: Material) -> None:
    path.symlink_to(path.parent, target_is_directory=True)


def remux(source: Path, target: Path, options: dict[str, str], jump_seconds: int = 0) -> None:
    """Copies the packets into another container; the second half may be moved far into the future."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        copies = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        halves = {s.index: (s.start_time or 0) + (s.duration or 0) // 2 for s in given.streams}
        for packet in given.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.dts > halves[packet.stream.index] and jump_seconds:
                jump = int(jump_seconds / packet.stream.time_base)
                packet.pts, packet.dts = packet.pts + jump, packet.dts + jump
            packet.stream = copies[packet.stream.index]
            made.mux(packet)
