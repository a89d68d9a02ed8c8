"""YAMNet beside its network alone, fed window by window as its authors' classifier does."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.media import model_of, operation, present, samples_of
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting
from framemill.ops.audio.embeddings import AudioEmbeddings
from framemill.ops.audio.sounds import Sounds
from tests.ops.audio.sound_clips import rows_of

MODEL, WINDOW, NUM_CLASSES = "yamnet", 15_600, 521
CLIPS = ("tflite_support_speech.wav", "robin_whistling.ogg", "trumpet_90bpm.ogg", "music_vibe_ace.ogg")
NEAR, LEAST_COSINE = 0.01, 0.999


def measure(setting: Setting) -> list[Comparison]:
    import onnxruntime

    paths = present(setting.media / "audio", *CLIPS)
    (weights,) = present(setting.models, f"{MODEL}.onnx")
    network = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    labels = model_of("sounds", MODEL, setting).entry.labels
    hear = operation(Sounds, setting, {"sounds": MODEL}, threshold=0.0, top=NUM_CLASSES)
    embed = operation(AudioEmbeddings, setting, {"sounds": MODEL})
    apart: list[float] = []
    cosines: list[float] = []
    num_top = 0
    for path in paths:
        samples = samples_of(path)
        rows, vectors = rows_of(hear, samples).to_pylist(), rows_of(embed, samples)["vector"].to_pylist()
        for number in range(len(samples) // WINDOW):
            window = np.ascontiguousarray(samples[number * WINDOW : (number + 1) * WINDOW])
            scores, vector = network.run(["scores", "embedding"], {"waveform_binary": window})
            ours = rows[number * NUM_CLASSES : (number + 1) * NUM_CLASSES]
            by_label = {row["label"]: row["score"] for row in ours}
            apart.append(max(abs(by_label[name] - scores[0, at]) for at, name in enumerate(labels)))
            num_top += ours[0]["label"] == labels[int(scores[0].argmax())]
            mine = np.array(vectors[number])
            cosines.append(float(mine @ vector[0] / (np.linalg.norm(mine) * np.linalg.norm(vector[0]))))
    reference = f"ONNX Runtime {onnxruntime.__version__}, windows of {WINDOW} samples one after the other"
    return [
        Comparison(
            family="yamnet",
            reference=reference,
            compared=f"`sounds` by {MODEL}, all {NUM_CLASSES} scores of each window, {len(paths)} clips",
            num_rows=len(apart),
            figure=f"largest difference {max(apart):.4f}; the same class first in {num_top} of {len(apart)}",
            goal=f"scores within {NEAR}, first classes equal",
            met=max(apart) <= NEAR and num_top == len(apart),
        ),
        Comparison(
            family="yamnet",
            reference=reference,
            compared=f"`audio_embeddings` by {MODEL}, {len(paths)} clips",
            num_rows=len(cosines),
            figure=f"cosine at least {min(cosines):.5f}",
            goal=f"cosine at least {LEAST_COSINE}",
            met=min(cosines) >= LEAST_COSINE,
        ),
    ]
