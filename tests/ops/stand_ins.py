"""Frames, sound and sessions without files, for tests of operations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.testing import ArrayFrames, audio_chunks, frame_index, shard, signals

__all__ = ["ArrayFrames", "OrtRunner", "audio_chunks", "frame_index", "shard", "signals", "vad_path"]


class OrtRunner:
    """A model on ONNX Runtime, one thread, one row at a time."""

    max_batch = 1

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        num_rows = len(next(iter(inputs.values())))
        rows = [
            self.run_whole({name: values[row : row + 1] for name, values in inputs.items()})
            for row in range(num_rows)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.names}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(self.names, self.session.run(None, dict(inputs)), strict=True))


def vad_path() -> Path:
    """The Silero detector inside faster-whisper."""
    from importlib.util import find_spec

    spec = find_spec("faster_whisper")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"
