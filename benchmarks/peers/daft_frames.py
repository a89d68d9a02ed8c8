"""Objects of sampled frames by Daft's own reader of video: `daft.read_video_frames`, a class UDF, Parquet.

python -m benchmarks.peers.daft_frames MODEL.onnx FOLDER STEP_SECONDS NUM_CPUS
Daft 0.7.26 gave no row of two local files or more within a minute: each file gets a process of its own, as
many at once as there are CPUs, and each process a thread for the model.

Frames come as Daft scales them, to the model's square without keeping their shape, for `read_video_frames`
wants one size for all files. So the boxes are others than ours, and only the numbers of frames are compared.

Prints {"seconds", "work_seconds", "files", "frames", "objects"}: from the first process to the end of the
last, the same without what each needs until Daft is imported, and rows; objects from a score of 0.35.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.peers.ray_frames_as_rows import COUNTED_SCORE, count_rows, read_lists

FILE_SECONDS = 600


def run_file(model: str, path: str, step: float, output: str) -> float:
    """Objects of one file, into a folder of Parquet; gives the seconds that it took."""
    import daft
    import numpy as np
    from daft import DataType

    from benchmarks.peers.row_stages import SIDE, FindObjects

    started = time.monotonic()
    one = {
        "label_index": DataType.int64(),
        "score": DataType.float32(),
        "box": DataType.list(DataType.float32()),
    }

    @daft.cls  # type: ignore[untyped-decorator]
    class Objects:
        def __init__(self) -> None:
            self._find = FindObjects(model)

        @daft.method.batch(return_dtype=DataType.list(DataType.struct(one)))  # type: ignore[untyped-decorator]
        def of(self, frames: daft.Series) -> list[list[dict[str, object]]]:
            pictures = [np.ascontiguousarray(np.asarray(frame)[..., ::-1]) for frame in frames]
            table = self._find({"frame": pictures, "number": list(range(len(pictures)))})
            found: list[list[dict[str, object]]] = table["objects"].to_pylist()
            return found

    frames = daft.read_video_frames(path, SIDE, SIDE, sample_interval_seconds=step)
    rows = frames.with_column("objects", Objects().of(frames["data"])).exclude("data")
    rows.write_parquet(output)
    return time.monotonic() - started


def main() -> None:
    if sys.argv[1] == "--one":
        model, path, step, output = sys.argv[2:]
        print(run_file(model, path, float(step), output))
        return
    model, folder, step, num_cpus = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with tempfile.TemporaryDirectory() as output:

        def run(path: Path) -> float:
            line = [sys.executable, "-m", "benchmarks.peers.daft_frames", "--one"]
            line += [model, str(path), step, str(Path(output, path.stem))]
            told = subprocess.run(line, capture_output=True, text=True, timeout=FILE_SECONDS, check=True)
            return float(told.stdout.splitlines()[-1])

        started = time.monotonic()
        with ThreadPoolExecutor(num_cpus) as pool:
            work = list(pool.map(run, sorted(folder.iterdir())))
        seconds = time.monotonic() - started
        found = read_lists(Path(output), "objects")
        told = {
            "seconds": seconds,
            "work_seconds": sum(work) / num_cpus,
            "files": len(work),
            "frames": count_rows(Path(output)),
            "objects": sum(one["score"] >= COUNTED_SCORE for some in found for one in some.to_pylist()),
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
