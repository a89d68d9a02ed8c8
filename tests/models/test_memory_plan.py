"""Who gets how much of a device, on the chips there are."""

from __future__ import annotations

import pytest

from framemill.models.memory_plan import (
    SESSION_BYTES,
    SESSIONS_PER_UNIT,
    decoder_bytes,
    plan_memory,
    plan_readers,
)

# Memory in GiB and decoding units by NVIDIA's documents of the chips.
CHIPS = {"T4": (15, 2), "L4": (22, 4), "A10": (22, 2), "A100": (40, 5), "H100": (80, 7), "H200": (141, 7)}
PICTURE_BYTES = 1920 * 1080 * 3


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("threads", [1, 2, 16, 64])
@pytest.mark.parametrize("chip", CHIPS)
def test_readers_keep_within_units_and_memory(chip: str, threads: int, share: float) -> None:
    gigabytes, units = CHIPS[chip]
    memory = plan_memory(gigabytes << 30, share).decoder
    plan = plan_readers(units, memory, threads)
    sessions = plan.calls * plan.sessions
    assert 1 <= plan.calls <= threads and sessions <= SESSIONS_PER_UNIT * units
    assert sessions * SESSION_BYTES + plan.frame_bytes <= memory
    reordered = sessions * (SESSION_BYTES - decoder_bytes(1920, 1080))
    assert plan.kept_bytes + reordered + plan.frame_bytes <= memory
    assert plan.kept_bytes >= sessions * decoder_bytes(1920, 1080)
    assert plan.frame_bytes >= memory // 2
    # The frames of a group of 10 s, two a second, go into one call as they are.
    assert plan.frame_bytes // plan.calls >= 20 * PICTURE_BYTES
    if threads >= 16 and share == 1.0:
        assert sessions >= 2 * units, "fewer leave the chip waiting"


def test_little_memory_gives_fewer_sessions_not_too_much() -> None:
    plan = plan_readers(7, 3 * SESSION_BYTES, 16)
    # Half of it: decoders that are kept need theirs for as long as the process lasts.
    assert (plan.calls, plan.sessions) == (1, 1) and plan.frame_bytes == 3 * SESSION_BYTES // 2
    least = plan_readers(2, SESSION_BYTES // 2, 16)
    assert (least.calls, least.sessions) == (1, 1) and least.frame_bytes >= SESSION_BYTES // 4
