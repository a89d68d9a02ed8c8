"""Cuts the shots of a result folder as PySceneDetect's `split-video` does, by ffmpeg for each.

python -m benchmarks.peers.split_video OUT DIR

Detection is left out: both sides are given the same shots.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from framemill.cluster.results.queries import query


def main() -> None:
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True)
    shots = query(sys.argv[1], "SELECT uri, start_seconds, duration_seconds FROM shots ORDER BY 1, 2").rows
    for number, (path, start, seconds) in enumerate(shots):
        line = ["ffmpeg", "-v", "quiet", "-nostdin", "-y", "-ss", str(start), "-i", path, "-t", str(seconds)]
        line += ["-map", "0:v:0", "-map", "0:a?", "-map", "0:s?"]
        line += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac"]
        subprocess.run([*line, str(folder / f"{number:05}.mp4")], check=True)


if __name__ == "__main__":
    main()
