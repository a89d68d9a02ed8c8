"""What plain PyAV decodes of files, a line of JSON each: `python -m tests.fuzz.oracle FILE...`."""

from __future__ import annotations

import json
import sys
from typing import Any

import av
import av.error
import numpy as np

MOST_FRAMES = 5000  # of a mutant that claims more than its few seconds could hold
LOUD = 0.05  # of full scale
_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def decode_all(path: str) -> dict[str, Any]:
    """Frames of the first film and seconds of the first track of sound; zeros where nothing opens.

    Of the sound also how long it is loud, in hundredths of a second: silence may stand for what is lost.
    """
    num_frames, seconds, loud = 0, 0.0, 0.0
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
                        loud += _loud_seconds(frame)
                    else:
                        num_frames += 1
                if num_frames > MOST_FRAMES:
                    break
    except (av.error.FFmpegError, ValueError):
        pass  # what came until then counts
    return {"path": path, "frames": num_frames, "seconds": seconds, "loud": loud}


def _loud_seconds(frame: av.AudioFrame) -> float:
    """How long the mix of all channels is loud; unsigned bytes have their zero at 128."""
    samples = frame.to_ndarray()
    scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    if samples.dtype == np.uint8:
        samples, scale = samples.astype(np.float64) - 128, 128.0
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mixed = np.abs(samples.mean(axis=0, dtype=np.float64)) / scale
    is_loud = np.flatnonzero(mixed > LOUD)  # NaN is not
    size = max(1, frame.sample_rate // 100)
    starts = np.unique(is_loud // size) * size
    return float(np.minimum(size, frame.samples - starts).sum()) / frame.sample_rate


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(json.dumps(decode_all(given)), flush=True)
