"""How much speech a Whisper network takes a second, by how many files go through it together.

python -m benchmarks.peers.whisper_batches MODEL CLIPS DEVICE NUM_CLIPS NUM_TOKENS BATCH...
MODEL is a folder of `benchmarks.made_whisper`, CLIPS one of WAV files of 16 kHz in mono, of which the first
NUM_CLIPS are taken, DEVICE cuda or cpu. Each clip is one passage: encoded, then decoded to NUM_TOKENS tokens,
five hypotheses at a time.
Prints {"BATCH": seconds of sound a second}, up to the batch that does not fit the device's memory; opening,
features and a first call do not count.
"""

from __future__ import annotations

import json
import sys
import time
import wave
from pathlib import Path

import numpy as np

from benchmarks.made_whisper import END, PROMPT, TOKENS
from framemill.models.cuda import load_cublas_for_ctranslate2
from framemill.models.transcription import MAX_SAMPLES, MAX_SECONDS, SAMPLE_RATE
from framemill.ops.chunks import Float32Array

BEAMS = 5  # what `transcript` takes by default
FRAMES = MAX_SECONDS * 100


def read_clip(path: Path) -> Float32Array:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / np.float32(32_768)


def main() -> None:
    import ctranslate2
    from faster_whisper.feature_extractor import FeatureExtractor

    model_folder, clips, device, num_clips, num_tokens = sys.argv[1:6]
    batches = [int(word) for word in sys.argv[6:]]
    if device == "cuda" and (problem := load_cublas_for_ctranslate2()):
        sys.exit(problem)
    compute = "float16" if device == "cuda" else "float32"
    whisper = ctranslate2.models.Whisper(model_folder, device=device, compute_type=compute)
    extractor = FeatureExtractor(feature_size=whisper.n_mels)
    sounds = [read_clip(path)[:MAX_SAMPLES] for path in sorted(Path(clips).iterdir())[: int(num_clips)]]
    features = np.stack(
        [extractor(np.pad(sound, (0, MAX_SAMPLES - len(sound))))[:, :FRAMES] for sound in sounds]
    ).astype(np.float32)

    def hear(first: int, size: int) -> None:
        rows = np.ascontiguousarray(features[first : first + size])
        encoded = whisper.encode(ctranslate2.StorageView.from_array(rows))
        # Of the length that is asked for, the prompt may take half: the text gets the other one.
        results = whisper.generate(
            encoded,
            [list(PROMPT)] * len(rows),
            beam_size=BEAMS,
            max_length=2 * int(num_tokens),
            suppress_tokens=[TOKENS.index(END)],
            sampling_temperature=0.0,
        )
        lengths = {len(result.sequences_ids[0]) for result in results}
        if lengths != {int(num_tokens)}:
            sys.exit(f"texts have {sorted(lengths)} tokens instead of {num_tokens}")

    seconds = sum(map(len, sounds)) / SAMPLE_RATE
    speeds = {}
    for batch in batches:
        try:
            hear(0, batch)
            started = time.perf_counter()
            for first in range(0, len(sounds), batch):
                hear(first, batch)
        except RuntimeError as exc:  # what CTranslate2 raises
            if speeds and "out of memory" in str(exc):
                break
            raise
        speeds[str(batch)] = seconds / (time.perf_counter() - started)
    json.dump(speeds, sys.stdout)


if __name__ == "__main__":
    main()
