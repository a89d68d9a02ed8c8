"""What is extracted: one operation a file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.operation import Op

# name -> module and class; the module is imported only when the operation is asked for.
OPS: dict[str, str] = {
    "media": "ops.media:Media",
    "frames": "ops.frames:FramesOp",
    "scenes": "ops.scenes:Scenes",
    "audio_levels": "ops.audio_levels:AudioLevels",
    "speech": "ops.speech:Speech",
    "transcript": "ops.transcript:Transcript",
    "sounds": "ops.sounds:Sounds",
    "audio_embeddings": "ops.audio_embeddings:AudioEmbeddings",
    "music_or_speech": "ops.music_or_speech:MusicOrSpeech",
    "speakers": "ops.speakers:Speakers",
    "beats": "ops.beats:Beats",
    "loudness": "ops.loudness:Loudness",
    "silences": "ops.silences:Silences",
    "objects": "ops.objects:Objects",
    "text": "ops.text:Text",
    "faces": "ops.faces:Faces",
    "emotions": "ops.emotions:Emotions",
    "face_embeddings": "ops.face_embeddings:FaceEmbeddings",
    "face_quality": "ops.face_quality:FaceQuality",
    "text_spans": "ops.text_spans:TextSpans",
    "labels": "ops.labels:Labels",
    "image_embeddings": "ops.image_embeddings:ImageEmbeddings",
    "aesthetics": "ops.aesthetics:Aesthetics",
    "text_embeddings": "ops.text_embeddings:TextEmbeddings",
    "transcript_embeddings": "ops.text_embeddings:TranscriptEmbeddings",
    "poses": "ops.poses:PosesOp",
    "tracks": "ops.tracks:Tracks",
    "quality": "ops.quality:Quality",
    "stretches": "ops.stretches:Stretches",
    "composition": "ops.composition:Composition",
    "editability": "ops.editability:Editability",
    "key_frames": "ops.key_frames:KeyFrames",
    "importance": "ops.importance:Importance",
    "sampling": "ops.sampling:Sampling",
    "candidates": "ops.candidates:Candidates",
    "preview": "ops.preview:Preview",
}


def load_op(name: str) -> type[Op]:
    """The class behind a key of `OPS`."""
    module, _, cls = OPS[name].partition(":")
    loaded: type[Op] = getattr(importlib.import_module(module), cls)
    return loaded
