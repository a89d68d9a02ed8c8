"""What plain PyAV decodes of files, a line of JSON each: `python -m tests.fuzz.oracle FILE...`."""

from __future__ import annotations

import json
import sys
from typing import Any

import av
import av.error

MOST_FRAMES = 5000  # of a mutant that claims more than its few seconds could hold
_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def decode_all(path: str) -> dict[str, Any]:
    """Frames of the first film and seconds of the first track of sound; zeros where nothing opens."""
    num_frames, seconds = 0, 0.0
    try:
        with av.open(path, metadata_errors="replace") as container:
            films = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED]
            chosen = [*films[:1], *container.streams.audio[:1]]
            for packet in container.demux(chosen):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    continue
                for frame in frames:
                    if isinstance(frame, av.AudioFrame):
                        seconds += frame.samples / frame.sample_rate
                    else:
                        num_frames += 1
                if num_frames > MOST_FRAMES:
                    break
    except (av.error.FFmpegError, ValueError):
        pass  # what came until then counts
    return {"path": path, "frames": num_frames, "seconds": seconds}


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(json.dumps(decode_all(given)), flush=True)
