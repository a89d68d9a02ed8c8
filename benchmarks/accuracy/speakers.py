"""Who speaks when on a real talk, beside its transcript by hand."""

from __future__ import annotations

from benchmarks.accuracy.media import operation, present, samples_of
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting
from framemill.ops.audio.speakers import Speakers
from tests.ops.audio.sound_clips import rows_of
from tests.ops.audio.test_speakers import error_rate, read_rttm, turns_of

SEGMENTATION, EMBEDDER, THRESHOLD, SECONDS = "pyannote_segmentation_3_0_int8", "resemblyzer_ge2e", 0.75, 30


def measure(setting: Setting) -> list[Comparison]:
    sound, labels = present(setting.media / "audio", "pyannote_sample.wav", "pyannote_sample.rttm")
    names = {"speaker_segmentation": SEGMENTATION, "speaker_embeddings": EMBEDDER}
    op = operation(Speakers, setting, names, threshold=THRESHOLD)
    true = read_rttm(labels)
    rate = error_rate(true, turns_of(rows_of(op, samples_of(sound))), 0, SECONDS)
    return [
        Comparison(
            family="speakers",
            reference="turns labelled by hand",
            compared=f"`speakers` by {EMBEDDER} from a cosine of {THRESHOLD} on, {sound.name}",
            num_rows=len(true),
            figure=f"error rate {rate:.4f}, no collar, overlaps counted",
            goal="at most 0.12",
            met=rate <= 0.12,
        )
    ]
