"""Known models of body poses."""

from __future__ import annotations

from collections.abc import Mapping

from models.entry import ModelEntry

POSE_ENTRIES: tuple[ModelEntry, ...] = (
    # Converted from mediapipe/modules/pose_landmark/pose_landmark_lite.tflite of google-ai-edge/mediapipe at
    # 139237092fedef164a17840aceb4e628244f8173, where there is no ONNX file to point to.
    ModelEntry(
        name="blazepose_landmark_lite",
        role="poses",
        family="blazepose",
        sha256="da077dd52ff6509127b7db88d16e705638074b4a15cd0c5550ce64f86db2c6c7",
        num_bytes=5_524_371,
        licence="Apache-2.0",
        commercial=True,
        input_size=(256, 256),
        colour="rgb",
        scale=(1 / 255,),
        batching="fixed",
    ),
)

# Families that an operation decodes, whether or not one of the entries above is of it.
POSE_FAMILIES: Mapping[str, tuple[str, ...]] = {"poses": ("blazepose", "rtmpose")}
