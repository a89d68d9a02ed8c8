"""Decodes the sound of a file and runs the networks of `speech` and `sounds` over it, on one thread.

python -m benchmarks.peers.bare_sound VAD YAMNET FILE
Prints {"decode_seconds", "inference_seconds", "windows"}, CPU seconds; opening models is not counted.
"""

from __future__ import annotations

import json
import sys
import time

import av
import numpy as np
import onnxruntime as ort

RATE = 16_000
VAD_WINDOW, VAD_CONTEXT, VAD_BLOCK = 512, 64, 512
YAMNET_WINDOW = 15_600


def main() -> None:
    vad_path, yamnet_path, path = sys.argv[1:]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    vad = ort.InferenceSession(vad_path, options, providers=providers)
    yamnet = ort.InferenceSession(yamnet_path, options, providers=providers)
    started = time.process_time()
    with av.open(path) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    decoded = time.process_time()
    padded = np.pad(samples, (VAD_CONTEXT, -len(samples) % VAD_WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, VAD_CONTEXT + VAD_WINDOW)[::VAD_WINDOW]
    state = np.zeros((1, 1, 128), np.float32)
    h, c = state, state
    for first in range(0, len(windows), VAD_BLOCK):
        block = np.ascontiguousarray(windows[first : first + VAD_BLOCK])
        _, h, c = vad.run(["speech_probs", "hn", "cn"], {"input": block, "h": h, "c": c})
    starts = range(0, len(samples) - YAMNET_WINDOW + 1, YAMNET_WINDOW)
    for start in starts:
        yamnet.run(None, {"waveform_binary": samples[start : start + YAMNET_WINDOW]})
    done = time.process_time()
    json.dump(
        {"decode_seconds": decoded - started, "inference_seconds": done - decoded, "windows": len(starts)},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
