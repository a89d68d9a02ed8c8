"""Known models of body poses."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS

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
    # MediaPipe's landmark model of 2023, converted by OpenCV; further outputs (mask, heat map, world
    # coordinates) are left alone.
    ModelEntry(
        name="blazepose_2023mar",
        role="poses",
        family="blazepose",
        url=(
            "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
            "1f19f821d68288feff2ef5c53993b33da74b1509/models/pose_estimation_mediapipe/"
            "pose_estimation_mediapipe_2023mar.onnx"
        ),
        sha256="9d89c599319a18fb7d2e28451a883476164543182bafca5f09eb2cf767ed2f3f",
        num_bytes=5_557_238,
        licence="Apache-2.0",
        commercial=True,
        input_size=(256, 256),
        batching="fixed",
        **FAMILY_DEFAULTS["blazepose"],
    ),
)

# Families that an operation decodes, whether or not one of the entries above is of it.
POSE_FAMILIES: Mapping[str, tuple[str, ...]] = {"poses": ("blazepose", "rtmpose")}
