"""Transcribes the files of a folder one after the other with faster-whisper; the plain way.

python -m benchmarks.peers.faster_whisper_per_file MODEL FOLDER LANGUAGE MODE THREADS
LANGUAGE is a code, or `auto` to have it detected in each file. MODE is `sequential` or `batched`
(BatchedInferencePipeline). THREADS is one number, for the cores that one call may use, or `1xN` for N files
side by side on one core each. Prints {file name: words}.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel

BATCH = 8


def main() -> None:
    model, folder, language, mode, threads = sys.argv[1:]
    per_call, _, side_by_side = threads.partition("x")
    num_files = int(side_by_side or 1)
    whisper = WhisperModel(
        model, device="cpu", compute_type="int8", cpu_threads=int(per_call), num_workers=num_files
    )
    options: dict[str, Any] = {
        "language": None if language == "auto" else language,
        "word_timestamps": True,
        "without_timestamps": False,
        "condition_on_previous_text": False,
    }

    def transcribe(path: Path) -> list[str]:
        if mode == "batched":
            segments, _ = BatchedInferencePipeline(whisper).transcribe(str(path), batch_size=BATCH, **options)
        else:
            segments, _ = whisper.transcribe(str(path), vad_filter=True, **options)
        return [word.word.strip() for segment in segments for word in segment.words or ()]

    paths = sorted(Path(folder).iterdir())
    with ThreadPoolExecutor(num_files) as pool:
        words = dict(zip([path.name for path in paths], pool.map(transcribe, paths), strict=True))
    json.dump(words, sys.stdout)


if __name__ == "__main__":
    main()
