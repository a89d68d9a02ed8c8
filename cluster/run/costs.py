"""What operations are expected to cost, to weigh files against each other and to estimate a run.

In seconds of one core, measured on 24 s of 1280x720 and 30 s of talk with small models of the registry.
Those of `depth` and `open_vocabulary` are estimates. Machines, models and pictures differ by a factor, but
all files of a run by much the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from framemill.ops.operation import Reads

if TYPE_CHECKING:
    from framemill.actors.plan import Sampling
    from framemill.cluster.run.planning import OpsPlan

# Seconds of work for each frame looked at.
A_FRAME: Mapping[str, float] = {
    "aesthetics": 0.001, "composition": 0.0016, "depth": 1.2, "emotions": 0.003, "face_embeddings": 0.01,
    "face_quality": 0.01, "faces": 0.015, "frames": 0.013, "image_embeddings": 0.018, "labels": 0.011,
    "moderation": 0.04, "objects": 0.031, "open_vocabulary": 3.5, "poses": 0.02, "quality": 0.005,
    "text": 0.86,
}  # fmt: skip
# Seconds of work for each second of media: sound, and motion of every frame.
A_SECOND: Mapping[str, float] = {
    "audio_embeddings": 0.008, "audio_levels": 0.0002, "beats": 0.0007, "camera_steps": 0.009,
    "loudness": 0.0022, "scenes": 0.0037, "sounds": 0.008, "speakers": 0.029, "speech": 0.0032,
    "stretches": 0.035, "transcript": 0.5,
}  # fmt: skip
# Of a network that judges every frame, as for scenes by TransNet V2.
JUDGED_SECOND = 1.0
# Of operations that are not listed, such as those of plugins.
ANOTHER_FRAME, ANOTHER_SECOND = 0.05, 0.01
DECODED_FRAME = 0.001
READ_SECOND = 0.001
# Opening, hashing and committing a file.
A_FILE = 0.05
# Frames looked at in a second of media, where the file has not been opened yet.
_FRAMES_A_SECOND = {"keyframes": 0.4, "scenes": 0.2, "adaptive": 0.5, "all": 25.0}


def frames_a_second(sampling: Sampling) -> float:
    """About how many frames of a second of media a policy takes."""
    return 1 / sampling.seconds if sampling.kind == "every" else _FRAMES_A_SECOND[sampling.kind]


def cost_a_second(plan: OpsPlan, ops: Iterable[str]) -> float:
    """Seconds of work that operations make of a second of media, decoding included."""
    names = list(ops)
    frames = frames_a_second(plan.sampling)
    reads = {plan.ops[name].reads for name in names}
    decoded = 25.0 if Reads.SIGNALS in reads else frames if Reads.FRAMES in reads else 0.0
    return READ_SECOND + decoded * DECODED_FRAME + sum(of_op(plan, name, 1.0, frames) for name in names)


def of_op(plan: OpsPlan, name: str, media_seconds: float, num_frames: float) -> float:
    """Seconds of work of one operation; 0 for those that read tables alone."""
    reads = plan.ops[name].reads
    if reads is Reads.FRAMES:
        return num_frames * A_FRAME.get(name, ANOTHER_FRAME)
    if reads is Reads.SIGNALS and plan.ops[name].key["models"]:
        return media_seconds * JUDGED_SECOND
    if reads in (Reads.AUDIO, Reads.SIGNALS):
        return media_seconds * A_SECOND.get(name, ANOTHER_SECOND)
    return 0.0
