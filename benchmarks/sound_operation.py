"""Feeds the sound of a file to one operation, decoded before; prints {"seconds", "rows"}, CPU seconds.

python -m benchmarks.sound_operation OPERATION FILE
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops import load_op
from framemill.ops.chunks import Audio, FrameIndex, NativeAudio, ShardInfo


def main() -> None:
    operation, path = sys.argv[1:]
    kind = load_op(operation)
    op = kind(kind.Options(), {})
    takes = op.takes()
    none = np.zeros(0, np.int64)
    rates = (op.sound_rate,) if Audio in takes else ()
    request = ReadRequest(none, none, True, 1, sound_rates=rates, native_sound=NativeAudio in takes)
    chunks = list(read_shard(path, index_source(path), request, ReadReport()))
    nothing = FrameIndex(none, np.zeros(0), np.zeros(0, bool), none)
    shard = ShardInfo(nothing, 0, 0, 0, 1, 0, 0, 0.0)

    def work(num_chunks: int) -> int:
        extractor = op.open(shard)
        for chunk in chunks[:num_chunks]:
            extractor.feed(chunk, {})
        return op.merge([extractor.finish()]).num_rows

    work(2)  # imports and caches
    started = time.process_time()
    rows = work(len(chunks))
    json.dump({"seconds": time.process_time() - started, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main()
