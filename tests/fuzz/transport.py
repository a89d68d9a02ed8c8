"""Damage to a transport stream: packets, tables of programmes with checksums that hold, clocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.fuzz.numbers import put

PACKET_BYTES = 188
SYNC = 0x47
_CRC_POLYNOMIAL = 0x04C11DB7

Packets = list[bytearray]


def checksum(section: bytes) -> int:
    """CRC-32 as tables of a transport stream have it (ISO/IEC 13818-1, annex A)."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (_CRC_POLYNOMIAL if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _pid(packet: bytearray) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def _begins(packet: bytearray) -> bool:
    return len(packet) == PACKET_BYTES and bool(packet[1] & 0x40)


def _payload(packet: bytearray) -> int:
    """Where what a packet carries begins; its end where it carries nothing."""
    if len(packet) < PACKET_BYTES or not packet[3] & 0x10:
        return len(packet)
    return min(len(packet), 5 + packet[4] if packet[3] & 0x20 else 4)


def _sections(packets: Packets, table: int) -> Iterator[tuple[bytearray, int]]:
    """Packets that begin with a table of this id, and where that begins."""
    for packet in packets:
        at = _payload(packet)
        if _begins(packet) and at < len(packet):
            at += 1 + packet[at]
            if at + 12 < len(packet) and packet[at] == table and packet[at + 1] & 0xF0 == 0xB0:
                yield packet, at


def _table(table: int) -> Callable[[random.Random, Packets], None]:
    """Other bytes in all tables of a kind or in one, mostly with the checksum of what they say now."""

    def damage(dice: random.Random, packets: Packets) -> None:
        found = list(_sections(packets, table))
        if not found:
            return
        length = int.from_bytes(found[0][0][found[0][1] + 1 : found[0][1] + 3], "big") & 0xFFF
        at, size, seed = dice.randrange(1, max(2, length - 1)), dice.choice((1, 2)), dice.random()
        holds = dice.random() < 0.8
        for packet, start in found if dice.random() < 0.7 else [dice.choice(found)]:
            put(random.Random(seed), packet, start + at, size)
            end = start + 3 + (int.from_bytes(packet[start + 1 : start + 3], "big") & 0xFFF)
            if holds and start + 4 < end <= len(packet):
                packet[end - 4 : end] = checksum(bytes(packet[start : end - 4])).to_bytes(4, "big")

    return damage


def _pes(dice: random.Random, packets: Packets) -> None:
    """Heads of a few pictures or pieces of sound: length, flags, times."""
    found = [p for p in packets if _begins(p) and p[_payload(p) : _payload(p) + 3] == b"\0\0\1"]
    for packet in dice.sample(found, min(len(found), dice.choice((1, 3, 10)))):
        put(dice, packet, _payload(packet) + dice.randrange(3, 19), dice.choice((1, 2, 4)))


def _clock(dice: random.Random, packets: Packets) -> None:
    """Other clock references, and notes that a clock starts anew."""
    found = [p for p in packets if len(p) == PACKET_BYTES and p[3] & 0x20 and p[4] >= 7 and p[5] & 0x10]
    for packet in dice.sample(found, min(len(found), dice.choice((1, 3, 10)))):
        if dice.random() < 0.3:
            packet[5] ^= 0x80
        else:
            put(dice, packet, 6 + dice.randrange(3), dice.choice((1, 4)))


def _continuity(dice: random.Random, packets: Packets) -> None:
    for packet in dice.sample(packets, min(len(packets), dice.choice((1, 5, 50)))):
        if len(packet) == PACKET_BYTES:
            packet[3] ^= dice.randrange(1, 16)


def _flags(dice: random.Random, packets: Packets) -> None:
    """Errors, scrambling, and what a packet is said to carry."""
    for packet in dice.sample(packets, min(len(packets), dice.choice((1, 5, 50)))):
        if len(packet) == PACKET_BYTES:
            at, bits = dice.choice(((1, 0x80), (1, 0x40), (3, 0x40), (3, 0x80), (3, 0x20), (3, 0x10)))
            packet[at] ^= bits


def _adaptation(dice: random.Random, packets: Packets) -> None:
    for packet in dice.sample(packets, min(len(packets), dice.choice((1, 5, 50)))):
        if len(packet) == PACKET_BYTES:
            packet[3] |= 0x20
            put(dice, packet, 4, 1)


def _pids(dice: random.Random, packets: Packets) -> None:
    """All packets of one track become another's."""
    pids = sorted({_pid(packet) for packet in packets if len(packet) == PACKET_BYTES})
    if not pids:
        return
    old, new = dice.choice(pids), dice.choice((*pids, 0, 1, 0x1FFF, dice.randrange(0x2000)))
    for packet in packets:
        if len(packet) == PACKET_BYTES and _pid(packet) == old:
            packet[1:3] = (int.from_bytes(packet[1:3], "big") & 0xE000 | new).to_bytes(2, "big")


def _sync(dice: random.Random, packets: Packets) -> None:
    """Bytes too many or too few, or a packet that does not begin as one."""
    for _ in range(dice.choice((1, 3, 20))):
        packet = dice.choice(packets)
        what = dice.choice(("more", "less", "other"))
        if what == "more":
            packet += dice.randbytes(dice.randrange(1, PACKET_BYTES))
        elif what == "less":
            del packet[dice.randrange(len(packet) or 1) :]
        elif packet:
            packet[0] ^= 1 << dice.randrange(8)


def _stretch(dice: random.Random, packets: Packets) -> tuple[int, int]:
    count = min(len(packets), int(2 ** dice.uniform(0, max(1, len(packets) // 4).bit_length())))
    start = dice.randrange(max(1, len(packets) - count))
    return start, start + count


def _drop(dice: random.Random, packets: Packets) -> None:
    start, end = _stretch(dice, packets)
    del packets[start:end]


def _twice(dice: random.Random, packets: Packets) -> None:
    start, end = _stretch(dice, packets)
    packets[end:end] = [bytearray(packet) for packet in packets[start:end]]


def _shuffle(dice: random.Random, packets: Packets) -> None:
    start, end = _stretch(dice, packets)
    order = packets[start:end]
    dice.shuffle(order)
    packets[start:end] = order


def _wider(dice: random.Random, packets: Packets) -> None:
    """Packets, all or later ones, with a time before each, as discs have them, or a checksum behind."""
    first = dice.choice((0, 0, dice.randrange(len(packets) or 1)))
    before, behind = dice.choice(((4, 0), (0, 16)))
    for packet in packets[first:]:
        packet[:] = dice.randbytes(before) + packet + dice.randbytes(behind)


_DAMAGES: dict[str, Callable[[random.Random, Packets], None]] = {
    "table of programmes": _table(0x00),
    "table of tracks": _table(0x02),
    "head of a piece": _pes,
    "clock": _clock,
    "continuity": _continuity,
    "flags of packets": _flags,
    "adaptation fields": _adaptation,
    "packets of another track": _pids,
    "sync": _sync,
    "packets dropped": _drop,
    "packets repeated": _twice,
    "packets shuffled": _shuffle,
    "packets of another width": _wider,
}


def _on_bytes(
    damage: Callable[[random.Random, Packets], None],
) -> Callable[[random.Random, bytearray], bytearray]:
    def damaged(dice: random.Random, data: bytearray) -> bytearray:
        packets = [data[at : at + PACKET_BYTES] for at in range(0, len(data), PACKET_BYTES)]
        if packets:
            damage(dice, packets)
        return bytearray(b"".join(packets))

    return damaged


DAMAGES = {name: _on_bytes(damage) for name, damage in _DAMAGES.items()}
