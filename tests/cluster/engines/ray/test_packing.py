"""Messages travel packed, and come out as they went in."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from framemill.cluster.engines.ray.messages import Piece, Source, Task
from framemill.cluster.engines.ray.packing import divide, pack, unpack
from framemill.cluster.run.messages import decode, encode


def source(number: int) -> Source:
    path = f"/archive/{number // 1000:04}/line\nend-{number:07}.mp4"
    return Source(uri=path, path=path.encode() + b"\xff", num_bytes=number, mtime_ns=number)


def test_messages_come_out_in_order_as_they_went_in() -> None:
    sources = [source(number) for number in range(50)]
    assert [decode(text, Source) for text in unpack(pack(sources))] == sources


def test_tasks_of_a_block_become_a_row_each() -> None:
    tasks = [Task(pieces=(Piece(source=source(2 * n)), Piece(source=source(2 * n + 1)))) for n in range(5)]
    rows = divide(pack(tasks))
    assert [decode(text, Task) for text in rows["task"].to_pylist()] == tasks


def test_a_packed_source_takes_a_fraction_of_its_text() -> None:
    sources = [source(number) for number in range(1000)]
    assert pack(sources).nbytes < 0.2 * sum(len(encode(each)) for each in sources)
