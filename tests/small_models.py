"""The models that tests name: small ones that are at hand, whatever the defaults of their roles are."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.models.entry import ModelEntry
from framemill.models.registry import DEFAULTS, resolve

NAMES: Mapping[str, str] = {
    "objects": "yolox_nano",
    "faces": "ultraface_rfb_320",
    "face_landmarks": "yunet_2022mar",
    "emotions": "emotion_mini_xception",
    "face_embeddings": "mobilefacenet",
    "poses": "blazepose_landmark_lite",
    "sounds": "yamnet",
    "labels": "shufflenet_v2_int8",
    "image_embeddings": "mobilenet_v1_embed",
    "image_text": "clip_vit_b32_text",
    "moderation": "open_nsfw_w16",
    "shot_boundaries": "transnetv2_w8",
    "text_embeddings": "minilm_l6_v2",
}
# By role, the default where no small one is needed.
SMALL: Mapping[str, ModelEntry] = {role: resolve(role, NAMES.get(role, "")) for role in DEFAULTS}


def flags(*roles: str) -> list[str]:
    """`--model ROLE=NAME` for each of these roles."""
    return [word for role in roles for word in ("--model", f"{role}={NAMES[role]}")]
