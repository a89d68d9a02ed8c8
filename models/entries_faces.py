"""Known models of faces: detectors, landmarks, emotions, embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS

# Classes of FER-2013 in the order of the data set's own numbering (Goodfellow et al., arXiv:1307.0414).
FER_7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

_YUNET_2022 = ModelEntry(
    name="yunet_2022mar",
    role="face_landmarks",
    family="yunet",
    url=(
        "https://media.githubusercontent.com/media/opencv/opencv_zoo/c71f7a40d34cd3830086ee9b7a01174e013ad42a"
        "/models/face_detection_yunet/face_detection_yunet_2022mar.onnx"
    ),
    sha256="50ef07f702a31741ca46a4c0d947773b64143b9362780237bf0d427d6c79bab7",
    num_bytes=345_478,
    licence="MIT",
    commercial=True,
    input_size=(160, 120),
    colour="bgr",
)

_YUNET_2023 = ModelEntry(
    name="yunet_2023mar",
    role="faces",
    family="yunet",
    url=(
        "https://media.githubusercontent.com/media/opencv/opencv_zoo/82b38c8f98e7b52aa171400f3e4c722352d0669f"
        "/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
    ),
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    num_bytes=232_589,
    licence="MIT",
    commercial=True,
    input_size=(640, 640),
    colour="bgr",
)

# The weights of InsightFace are for non-commercial research only (its README). Read from a mirror of the
# release buffalo_l.zip, since a file inside an archive has no address of its own.
_INSIGHTFACE = (
    "https://huggingface.co/public-data/insightface/resolve/33c1063c49c785b7652d3fd529f86fa4f149392b"
    "/models/buffalo_l/"
)
_RESEARCH_ONLY = "InsightFace, non-commercial research only"

# Its three outputs per stride have no axis for the batch, so it takes one picture at a time.
_SCRFD_10G = ModelEntry(
    name="scrfd_10g",
    role="faces",
    family="scrfd",
    url=_INSIGHTFACE + "det_10g.onnx",
    sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    num_bytes=16_923_827,
    licence=_RESEARCH_ONLY,
    commercial=False,
    input_size=(640, 640),
    **FAMILY_DEFAULTS["scrfd"],
)

FACE_ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="ultraface_rfb_320",
        role="faces",
        family="ultraface",
        url=(
            "https://raw.githubusercontent.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB"
            "/dffdddda9794a50607cba8f318507a28c1c27cab/models/onnx/version-RFB-320.onnx"
        ),
        sha256="34cd7e60aeff28744c657de7a3dc64e872d506741de66987f3426f2b79f88017",
        num_bytes=1_270_727,
        licence="MIT",
        commercial=True,
        input_size=(320, 240),
        colour="rgb",
        mean=(127.0,),
        scale=(1 / 128,),
        batching="fixed",
    ),
    # Its three outputs have the priors of one picture as their first axis, so it takes one at a time.
    replace(_YUNET_2022, role="faces"),
    _YUNET_2023,
    _SCRFD_10G,
    _YUNET_2022,
    replace(_YUNET_2023, role="face_landmarks"),
    # Converted from fer2013_mini_XCEPTION.102-0.66.hdf5 of oarriaga/face_classification at
    # b861d21b0e76ca5514cdeb5b56a689b7318584f4, where there is no ONNX file to point to.
    ModelEntry(
        name="emotion_mini_xception",
        role="emotions",
        family="fer",
        sha256="b16ef1155dae5fd996c7a2efea22431aa593808f70333d3123b8464f0ff53d6f",
        num_bytes=253_233,
        licence="MIT",
        commercial=True,
        input_size=(64, 64),
        colour="gray",
        mean=(127.5,),
        scale=(1 / 127.5,),
        labels=FER_7,
        batching="dynamic",
    ),
    ModelEntry(
        name="emotion_mobilefacenet",
        role="emotions",
        family="fer_rgb",
        url=(
            "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
            "7091f16d2deca9ffba13f0a05c2eb22c810928c5/models/facial_expression_recognition/"
            "facial_expression_recognition_mobilefacenet_2022july.onnx"
        ),
        sha256="4f61307602fc089ce20488a31d4e4614e3c9753a7d6c41578c854858b183e1a9",
        num_bytes=4_791_892,
        licence="Apache-2.0",
        commercial=True,
        input_size=(112, 112),
        labels=("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
        batching="fixed",
        **FAMILY_DEFAULTS["fer_rgb"],
    ),
    # Its authors train with the mean and deviation of ImageNet (data_gen.py of that commit). With
    # (value - 127.5) / 128 the two people of the head-pose clip come 0.05 closer to each other (measured).
    ModelEntry(
        name="mobilefacenet",
        role="face_embeddings",
        family="arcface",
        url=(
            "https://raw.githubusercontent.com/foamliu/MobileFaceNet"
            "/a6cc9032a659b615f477833e1a70b5e7931bcccc/weights/MobileFaceNet.onnx"
        ),
        sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
        num_bytes=3_998_070,
        licence="Apache-2.0",
        commercial=True,
        input_size=(112, 112),
        colour="rgb",
        mean=(123.675, 116.28, 103.53),
        scale=(1 / 58.395, 1 / 57.12, 1 / 57.375),
        batching="fixed",
    ),
    # Its documentation names the classes in the opposite order; the demo of its authors takes the second for
    # open. Trained on infrared pictures of drivers.
    ModelEntry(
        name="open_closed_eye_0001",
        role="eyes",
        family="eye_state",
        url=(
            "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1"
            "/open-closed-eye-0001/open_closed_eye.onnx"
        ),
        sha256="4daa100034482525a26c9afb9297c16580a531189e66e3d2b2ac7d32becfd593",
        num_bytes=46_164,
        licence="Apache-2.0",
        commercial=True,
        input_size=(32, 32),
        labels=("closed", "open"),
        batching="fixed",
        **FAMILY_DEFAULTS["eye_state"],
    ),
    ModelEntry(
        name="arcface_w600k_r50",
        role="face_embeddings",
        family="arcface",
        url=_INSIGHTFACE + "w600k_r50.onnx",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        num_bytes=174_383_860,
        licence=_RESEARCH_ONLY,
        commercial=False,
        input_size=(112, 112),
        batching="fixed",
        **FAMILY_DEFAULTS["arcface"],
    ),
)

# Families that an operation decodes, whether or not one of the entries above is of it.
FACE_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "faces": ("scrfd", "ultraface", "yunet"),
    "face_landmarks": ("scrfd", "yunet"),
    "eyes": ("eye_state", "ocec"),
}
