"""What is extracted: one operation a file."""

from __future__ import annotations

import functools
import importlib
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framemill.ops.operation import Op

# name -> module and class; the module is imported only when the operation is asked for.
OPS: dict[str, str] = {
    "media": "framemill.ops.media:Media",
    "frames": "framemill.ops.frames.frames:FramesOp",
    "scenes": "framemill.ops.shots.scenes:Scenes",
    "audio_levels": "framemill.ops.audio.audio_levels:AudioLevels",
    "speech": "framemill.ops.audio.speech:Speech",
    "transcript": "framemill.ops.audio.transcript:Transcript",
    "sounds": "framemill.ops.audio.sounds:Sounds",
    "audio_embeddings": "framemill.ops.audio.embeddings:AudioEmbeddings",
    "music_or_speech": "framemill.ops.audio.music_or_speech:MusicOrSpeech",
    "speakers": "framemill.ops.audio.speakers:Speakers",
    "beats": "framemill.ops.audio.beats:Beats",
    "loudness": "framemill.ops.audio.loudness:Loudness",
    "silences": "framemill.ops.audio.silences:Silences",
    "objects": "framemill.ops.objects.objects:Objects",
    "text": "framemill.ops.text.text:Text",
    "faces": "framemill.ops.faces.faces:Faces",
    "emotions": "framemill.ops.faces.emotions:Emotions",
    "face_embeddings": "framemill.ops.faces.embeddings:FaceEmbeddings",
    "face_quality": "framemill.ops.faces.quality:FaceQuality",
    "text_spans": "framemill.ops.text.spans:TextSpans",
    "labels": "framemill.ops.frames.labels:Labels",
    "image_embeddings": "framemill.ops.frames.embeddings:ImageEmbeddings",
    "clip_embeddings": "framemill.ops.frames.clip_embeddings:ClipEmbeddings",
    "aesthetics": "framemill.ops.frames.aesthetics:Aesthetics",
    "moderation": "framemill.ops.frames.moderation:Moderation",
    "depth": "framemill.ops.frames.depth:Depth",
    "open_vocabulary": "framemill.ops.objects.open_vocabulary:OpenVocabulary",
    "text_embeddings": "framemill.ops.text.embeddings:TextEmbeddings",
    "transcript_embeddings": "framemill.ops.text.embeddings:TranscriptEmbeddings",
    "poses": "framemill.ops.objects.poses:PosesOp",
    "tracks": "framemill.ops.objects.tracks:Tracks",
    "quality": "framemill.ops.frames.quality:Quality",
    "stretches": "framemill.ops.shots.stretches:Stretches",
    "camera_steps": "framemill.ops.shots.camera_steps:CameraSteps",
    "motion": "framemill.ops.shots.motion:Motion",
    "composition": "framemill.ops.frames.composition:Composition",
    "editability": "framemill.ops.frames.editability:Editability",
    "key_frames": "framemill.ops.sampling.key_frames:KeyFrames",
    "importance": "framemill.ops.sampling.importance:Importance",
    "sampling": "framemill.ops.sampling.adaptive:Sampling",
    "candidates": "framemill.ops.sampling.cascade:Candidates",
    "preview": "framemill.ops.sampling.preview:Preview",
}

# What runs when nothing is named: cheap, no download. Listed here since asking each class would import all.
DEFAULT_OPS = ("media", "frames", "scenes", "audio_levels", "speech")

# The same of operations that are not ours, as far as this process was told of them (see `framemill.plugins`).
PLUGINS: dict[str, str] = {}


def load_op(name: str) -> type[Op]:
    """The class behind a key of `OPS` or `PLUGINS`."""
    return _own(OPS[name]) if name in OPS else _load(PLUGINS[name])


def _load(text: str) -> type[Op]:
    module, _, path = text.partition(":")
    loaded: type[Op] = attrgetter(path)(importlib.import_module(module))
    return loaded


# It is asked for several times for each of a million files. A plugin may be loaded anew.
_own = functools.cache(_load)
