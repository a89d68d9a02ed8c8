"""RapidOCR's own pipeline with its defaults on some frames of a video, as a plain script would do it.

python -m benchmarks.peers.rapidocr_frames VIDEO INDEX,INDEX,...
Prints {"frames": [[frame_index, [line, ...]], ...], "bare_seconds"}: CPU seconds in the decoder and in the
networks. Frames are counted in the order of presentation.
"""

from __future__ import annotations

import json
import os
import sys

import av
from rapidocr import RapidOCR

from benchmarks.peers.bare import Bare


def main() -> None:
    path, wanted = sys.argv[1], {int(index) for index in sys.argv[2].split(",")}
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # its log goes to stdout
    bare = Bare()
    bare.of_sessions()
    engine = RapidOCR(params={"Global.log_level": "error"})
    found: list[tuple[int, list[str]]] = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(bare.of_each(container.decode(stream))):
            if index in wanted:
                found.append((index, list(engine(frame.to_ndarray(format="bgr24")).txts or ())))
    json.dump({"frames": found, "bare_seconds": bare.seconds}, answers)


if __name__ == "__main__":
    main()
