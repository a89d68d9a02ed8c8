"""Whether a model may compute in 16-bit floats on this machine's GPU, asked for at once."""

from __future__ import annotations

from pathlib import Path

from framemill.models.cuda import find_gpus
from framemill.models.entry import ModelEntry
from framemill.models.halves import ADVICE
from framemill.models.providers import BATCHED_PROVIDERS
from framemill.models.session import open_model


def probe_halves(entry: ModelEntry, path: Path, cores: int) -> str:
    """What came of the gate, in words; empty without a GPU.

    Raises:
        ModelError: no provider can open the file.
    """
    if entry.family == "whisper" or not find_gpus():
        return ""
    report = open_model(entry, path, cores, precision="fp16")[1]
    if report.provider not in BATCHED_PROVIDERS:
        return f"runs on {report.provider}"
    return f"{report.provider}: {ADVICE if report.precision == 'fp16' else report.note or report.precision}"
