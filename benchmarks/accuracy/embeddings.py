"""Vectors and what is read from them, beside the steps that the authors of each network publish, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmarks.accuracy.media import frames_of, model_of, operation, present, samples_of
from benchmarks.accuracy.table import Comparison, skipped
from benchmarks.harness import Setting, SkippedError
from framemill.ops.audio.voices import embed_voice
from framemill.ops.chunks import Float32Array
from framemill.ops.columns import vector_column
from framemill.ops.frames.aesthetics import Aesthetics
from framemill.ops.frames.embeddings import ImageEmbeddings

LEAST_COSINE = 0.999
PICTURES, VOICES, HEAD = "mobilenet_v1_embed", "resemblyzer_ge2e", "laion_vit_b32"
CLIPS = {"bottle-detection.mp4": 150, "dog_eating_854132.mp4": 60, "testvideo.mp4": 60}
SPOKEN = ("jfk.flac", "librivox_0870.wav", "librivox_0880.wav", "librispeech_84-121550-0000.flac")
RATE = 16_000


def measure(setting: Setting) -> list[Comparison]:
    found = []
    for family, part in (("mobilenet_embed", _pictures), ("ge2e", _voices), ("laion", _head)):
        try:
            found.append(part(setting))
        except SkippedError as exc:
            found.append(skipped(family, str(exc)))
    return found


def _row(family: str, reference: str, compared: str, cosines: Sequence[float]) -> Comparison:
    return Comparison(
        family=family,
        reference=reference,
        compared=compared,
        num_rows=len(cosines),
        figure=f"cosine at least {min(cosines):.5f}, median {np.median(cosines):.5f}",
        goal=f"cosine at least {LEAST_COSINE}",
        met=min(cosines) >= LEAST_COSINE,
    )


def _pictures(setting: Setting) -> Comparison:
    from PIL import Image, __version__

    op = operation(ImageEmbeddings, setting, {"image_embeddings": PICTURES})
    network = model_of("image_embeddings", PICTURES, setting)
    cosines = []
    for path in present(setting.media / "video", *CLIPS):
        for frames in frames_of(path, CLIPS[path.name]):
            ours = op.embed(frames)
            for mine, pixels in zip(ours, frames.rgb(), strict=True):
                small = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.LANCZOS))
                (vector,) = network.runner.run({"pixel_values": small[None]}).values()
                cosines.append(_cosine(mine, vector.ravel()))
    reference = f"Coral's example around the same network: frames resized by Pillow {__version__}, LANCZOS"
    return _row(
        "mobilenet_embed", reference, f"`image_embeddings` by {PICTURES}, {len(CLIPS)} clips", cosines
    )


def _voices(setting: Setting) -> Comparison:
    network = model_of("speaker_embeddings", VOICES, setting)
    cosines = []
    for path in present(setting.media / "audio", *SPOKEN):
        samples = samples_of(path)[: 8 * RATE]
        theirs = network.runner.run({"mels": _resemblyzer_mels(samples)})["embs"].mean(axis=0)
        cosines.append(_cosine(embed_voice(network, samples), theirs))
    reference = "Resemblyzer 0.1.4, its published steps after the trimming of silence, in NumPy"
    return _row("ge2e", reference, f"voices by {VOICES}, {len(SPOKEN)} recordings", cosines)


def _resemblyzer_mels(samples: Float32Array) -> Float32Array:
    """Mel powers of stretches of 1.6 s, 1.3 a second, float32 [n, 160, 40].

    Frames of 25 ms every 10 ms are centred on their time, the sound mirrored at both ends. The last stretch
    is left out where less than three quarters of it is sound.
    """
    level = 10 ** (-30 / 20) / np.sqrt(np.mean(samples.astype(np.float64) ** 2))
    count, hop, length = 400, 160, 160
    step = round(RATE / 1.3 / hop)
    starts = list(range(0, max(1, len(samples) // hop + 1 - length + step + 1), step))
    coverage = (len(samples) - starts[-1] * hop) / (length * hop)
    if coverage < 0.75 and len(starts) > 1:
        starts.pop()
    sound = np.pad(samples * max(1.0, level), (0, max(0, (starts[-1] + length) * hop - len(samples))))
    padded = np.pad(sound, count // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    frames = np.stack([padded[at : at + count] for at in range(0, len(padded) - count + 1, hop)])
    mels = np.abs(np.fft.rfft(frames * window)) ** 2 @ _slaney_triangles(count).T
    return np.stack([mels[start : start + length] for start in starts]).astype(np.float32)


def _slaney_triangles(size: int) -> np.ndarray:
    """40 triangles of equal area from 0 to 8000 Hz on Slaney's mel scale, float64 [40, size // 2 + 1]."""
    # Two thirds of a mel to 10 Hz up to 1000 Hz, which is 15 mel; then 27 mel for each factor of 6.4.
    mels = np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 42)
    hertz = np.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.linspace(0, RATE / 2, size // 2 + 1)
    bands = []
    for low, middle, high in zip(hertz, hertz[1:], hertz[2:], strict=False):
        rise, fall = (bins - low) / (middle - low), (high - bins) / (high - middle)
        bands.append(np.clip(np.minimum(rise, fall), 0, None) * 2 / (high - low))
    return np.stack(bands)


def _head(setting: Setting) -> Comparison:
    import onnx
    from onnx import numpy_helper

    (path,) = present(setting.models, f"{HEAD}.onnx")
    weights = [numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer]
    (slope,) = [one.ravel().astype(np.float64) for one in weights if one.size > 1]
    (level,) = [float(one.ravel()[0]) for one in weights if one.size == 1]
    vectors = np.random.default_rng(1).normal(size=(64, len(slope))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (clip,) = present(setting.media / "video", "testvideo.mp4")
    op = operation(Aesthetics, setting, {"aesthetics": HEAD})
    apart: list[float] = []
    for frames in frames_of(clip, 15):
        some = vectors[: len(frames)]
        columns = [pa.array(frames.frame_index), pa.array(frames.pts_seconds), vector_column(some)]
        upstream = {"image_embeddings": pa.table(columns, schema=ImageEmbeddings.schema)}
        scores = np.array(op.run(frames, upstream)["score"].to_pylist())
        apart += np.abs(scores - (some @ slope + level)).tolist()
    return Comparison(
        family="laion",
        reference="the published weights, multiplied in NumPy",
        compared=f"`aesthetics` by {HEAD} of vectors made by a seed",
        num_rows=len(apart),
        figure=f"largest difference {max(apart):.6f}",
        goal="within 0.01",
        met=max(apart) <= 0.01,
    )


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
