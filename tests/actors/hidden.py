"""Clips whose packets hold more or fewer pictures than one, made from packets of ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import av

from tests.actors.clips import Pixels, moving, write_clip
from tests.actors.fields import write_fields


def superframe(frames: list[bytes]) -> bytes:
    """Several VP9 frames as one packet, their lengths behind them in four bytes each (annex B)."""
    mark = bytes([0xC0 | 3 << 3 | len(frames) - 1])
    return b"".join(frames) + mark + b"".join(len(f).to_bytes(4, "little") for f in frames) + mark


def rewrite(
    source: Path, target: Path, change: Callable[[int, av.Packet], Iterable[tuple[bytes, int]]]
) -> Path:
    """A clip with other packets: `change` gives for each those to be written, and their times."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            for data, pts in change(number, packet):
                copy = av.Packet(data)
                copy.stream, copy.time_base = stream, packet.time_base
                copy.pts, copy.dts = pts, packet.dts
                copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
                made.mux(copy)
    return target


def _ordinary(folder: Path, codec: str, pictures: Iterable[Pixels] | None, group: int = 12) -> Path:
    options = {"g": str(group), "crf": "10", "b": "0" if codec == "libvpx-vp9" else "2M"}
    options |= {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    return write_clip(folder / "plain.webm", pictures or moving(40, 192, 128), codec=codec, options=options)


def vp9_superframes(folder: Path, pictures: Iterable[Pixels] | None = None) -> Path:
    """Each key packet begins with one more key picture that is not shown."""

    def change(number: int, packet: av.Packet) -> Iterable[tuple[bytes, int]]:
        data = bytes(packet)
        assert packet.pts is not None
        if packet.is_keyframe:
            data = superframe([bytes([data[0] & ~2]) + data[1:], data])
        return [(data, packet.pts)]

    return rewrite(_ordinary(folder, "libvpx-vp9", pictures), folder / "super.webm", change)


def vp8_hidden(folder: Path, pictures: Iterable[Pixels] | None = None) -> Path:
    """Before each key packet one like it that is not shown."""

    def change(number: int, packet: av.Packet) -> Iterable[tuple[bytes, int]]:
        data = bytes(packet)
        assert packet.pts is not None
        if packet.is_keyframe:
            yield bytes([data[0] & ~16]) + data[1:], packet.pts
        yield data, packet.pts + (1 if packet.is_keyframe else 0)

    return rewrite(_ordinary(folder, "libvpx", pictures), folder / "hidden.webm", change)


def packed_mpeg4(folder: Path) -> Path:
    """Pictures in pairs, the second of each in the packet of the first, then one that is not coded."""
    source = write_clip(
        folder / "plain.avi", moving(40, 192, 128), codec="mpeg4", options={"bf": "1", "g": "12"}
    )
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    kinds = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in packets]  # 0 I, 1 P, 2 B

    def change(number: int, packet: av.Packet) -> Iterable[tuple[bytes, int]]:
        at = packet.pts if packet.pts is not None else packet.dts
        assert at is not None
        if kinds[number] == 2:
            return [(NOT_CODED, at)]
        is_followed = number + 1 < len(packets) and kinds[number + 1] == 2
        first = packets[number]
        if packet.is_keyframe:  # decoders expect pairs where the encoder says that it makes them
            place = first.index(b"\0\0\1\xb6")
            first = first[:place] + b"\0\0\1\xb2DivX503b1393p" + first[place:]
        return [(first + (packets[number + 1] if is_followed else b""), at)]

    return rewrite(source, folder / "packed.avi", change)


# A picture of kind P at tick 0 of 25, in five bits, that is not coded.
NOT_CODED = b"\0\0\1\xb6" + bytes([0b01_0_1_0000, 0b0_1_0_11111])


def fields_in_pairs(folder: Path) -> Path:
    return write_fields(folder / "fields.mp4", 30, one_packet=True)


def fields_apart(folder: Path) -> Path:
    return write_fields(folder / "fields.mkv", 30)


def resized(folder: Path, codec: str, sizes: Iterable[tuple[int, int]]) -> Path:
    """Stretches of 12 pictures of these sizes, one behind the other in one track."""
    path, number = folder / f"{codec}.webm", 0
    clips = []
    for place, size in enumerate(sizes):
        (folder / str(place)).mkdir()
        clips.append(_ordinary(folder / str(place), codec, moving(12, *size)))
    with av.open(str(clips[0])) as first, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(first.streams.video[0])
        for clip in clips:
            with av.open(str(clip)) as given:
                for packet in (packet for packet in given.demux(video=0) if packet.size):
                    copy = av.Packet(bytes(packet))
                    copy.stream, copy.time_base = stream, packet.time_base
                    copy.pts = copy.dts = 40 * number
                    copy.is_keyframe = packet.is_keyframe
                    made.mux(copy)
                    number += 1
    return path


UNEVEN: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker
    for maker in (vp9_superframes, vp8_hidden, packed_mpeg4, fields_in_pairs, fields_apart)
}
