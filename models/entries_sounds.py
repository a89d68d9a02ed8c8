"""Known models of sound: what is heard, and who speaks when."""

from __future__ import annotations

from framemill.models.audioset import AUDIOSET_521
from framemill.models.entry import ModelEntry

SOUND_ENTRIES: tuple[ModelEntry, ...] = (
    # Converted, with the embedding as a second output, from yamnet_audio_classifier_with_metadata.tflite of
    # tensorflow/tflite-support at dd3362ea685bb7ab1f7268c81ec567d3b720ae57, where there is no ONNX file.
    ModelEntry(
        name="yamnet",
        role="sounds",
        family="yamnet",
        sha256="8cb3d9570c19e8d31a495d9b2bed1df12afd5acbc45fd3fca5735ca06287f427",
        num_bytes=16_081_318,
        licence="Apache-2.0",
        commercial=True,
        labels=AUDIOSET_521,
    ),
    # Its dynamic quantisation takes one scale over everything in a call, so it hears one window at a time.
    ModelEntry(
        name="pyannote_segmentation_3_0_int8",
        role="speaker_segmentation",
        family="pyannote_powerset",
        url=(
            "https://huggingface.co/csukuangfj/sherpa-onnx-pyannote-segmentation-3-0"
            "/resolve/9403a6902bb58e3d5ae8c7e77c3422de279db2e0/model.int8.onnx"
        ),
        sha256="d582f4b4c6b48205de7e0643c57df0df5615a3c176189be3fc461e9d18827b5d",
        num_bytes=1_540_506,
        licence="MIT",
        commercial=True,
    ),
    ModelEntry(
        name="wespeaker_voxceleb_resnet34",
        role="speaker_embeddings",
        family="wespeaker",
        url=(
            "https://github.com/k2-fsa/sherpa-onnx/releases/download/speaker-recongition-models"
            "/wespeaker_en_voxceleb_resnet34_LM.onnx"
        ),
        sha256="e9848563da86f263117134dfd7ad63c92355b37de492b55e325400c9d9c39012",
        num_bytes=26_530_550,
        licence="CC-BY-4.0",
        commercial=True,
        batching="dynamic",
    ),
)
