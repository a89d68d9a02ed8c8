"""The most that the decoders of a GPU give: every picture of every file once, in order, and no more.

python -m benchmarks.peers.gpu_limit FOLDER DEVICE SESSIONS
Prints {"frames", "seconds", "by"}: by ffmpeg on `gpu` where it has NVDEC, else by DALI's decoder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np

# ffmpeg's decoders on NVDEC. Asked for by name they fail where there is none, instead of using the CPU.
NVDEC = {
    "h264": "h264_cuvid",
    "hevc": "hevc_cuvid",
    "vp8": "vp8_cuvid",
    "vp9": "vp9_cuvid",
    "av1": "av1_cuvid",
    "mpeg4": "mpeg4_cuvid",
}
# The same files so many times more: what starting takes is in both, and drops out of the difference.
ROUNDS = 3
# DALI hands out one picture of so many: it decodes all, and conversion must not be what is measured.
EVERY = 8


def by_ffmpeg(program: str, files: Sequence[Path], sessions: int) -> dict[str, Any]:
    """Decodes with so many processes of ffmpeg at once, each with its part of the files.

    Raises:
        subprocess.CalledProcessError: it does not decode on the GPU; its `stderr` says why.
    """
    codec, _ = _about(files[0])
    parts = [list(files[k::sessions]) for k in range(min(sessions, len(files)))]

    def seconds(rounds: int) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: _run_ffmpeg(program, NVDEC[codec], part * rounds), parts))
        return time.perf_counter() - started

    seconds(1)  # libraries are read from disk
    once, more = seconds(1), seconds(1 + ROUNDS)
    frames = ROUNDS * sum(_about(file)[1] for file in files)
    return {"frames": frames, "seconds": max(more - once, 1e-9), "by": f"ffmpeg, {NVDEC[codec]}"}


def by_dali(files: Sequence[Path], device: str, sessions: int) -> dict[str, Any]:
    """Decodes each file in one call of DALI, so many calls at once."""
    import nvidia.dali.experimental.dynamic as dali

    contents = [(np.fromfile(file, np.uint8), _about(file)[1]) for file in files]

    def work(call: tuple[Any, int]) -> int:
        content, count = call
        numbers = np.unique(np.append(np.arange(0, count, EVERY), count - 1)).astype(np.int32)
        # Threads that are tied to cores, which is the default, would all sit on the first few.
        decoded = dali.decoders.video(dali.as_tensor(content), device=device, frames=numbers, affine=False)
        decoded.evaluate()
        return count

    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(work, contents[:sessions]))  # decoders are opened, kernels are loaded
        started = time.perf_counter()
        frames = sum(pool.map(work, contents))
        return {"frames": frames, "seconds": time.perf_counter() - started, "by": "DALI, in sequence"}


def _about(file: Path) -> tuple[str, int]:
    """Codec, by FFmpeg's name, and number of packets with pictures."""
    with av.open(str(file)) as container:
        codec = container.streams.video[0].codec_context.codec.canonical_name
        return codec, sum(bool(packet.size) for packet in container.demux(video=0))


def _run_ffmpeg(program: str, decoder: str, files: Sequence[Path]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.writelines(f"file '{file.resolve()}'\n" for file in files)
        listed.flush()
        command = [program, "-nostdin", "-v", "error", "-hwaccel", "cuda", "-hwaccel_output_format", "cuda"]
        command += ["-c:v", decoder, "-f", "concat", "-safe", "0", "-i", listed.name]
        command += ["-map", "0:v:0", "-f", "null", "-"]
        subprocess.run(command, check=True, capture_output=True, text=True)


def measure(folder: Path, device: str, sessions: int) -> dict[str, Any]:
    """As `main` prints it; where ffmpeg was tried in vain, `by` says why."""
    files = sorted(folder.iterdir())
    program = shutil.which("ffmpeg") if device == "gpu" else None
    if program is None:
        return by_dali(files, device, sessions)
    try:
        return by_ffmpeg(program, files, sessions)
    except (subprocess.CalledProcessError, KeyError) as error:
        said = (getattr(error, "stderr", "") or f"no decoder for {error}").strip().splitlines()[-1]
        found = by_dali(files, device, sessions)
        return {**found, "by": f"{found['by']} (ffmpeg does not: {said})"}


def main() -> None:
    folder, device, sessions = sys.argv[1:]
    json.dump(measure(Path(folder), device, int(sessions)), sys.stdout)


if __name__ == "__main__":
    main()
