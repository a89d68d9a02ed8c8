"""What words name, in each frame: things that no detector has a class for, such as logos.

OWLv2: Minderer et al., arXiv:2306.09683: each of 3600 places of the picture tells one box, and how well each
of the words fits it. Frames go into the upper left of a square, on the grey that the authors fill it up with.
Words are taken as they are, as Hugging Face's pipeline does; `a photo of a cat` is one, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.models.tokens import Tokenizer
from framemill.ops.chunks import Float32Array, Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.decoders import Detections
from framemill.ops.objects.rows import detection_rows
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.boxes import BOX, letterbox_size, nms
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import letterbox
from framemill.ops.word_lists import parse_words

FAMILY = "owlv2"
SIZE = (960, 960)  # width and height of the pictures of its base network, where nothing states them
TOKENS = 16  # what the text tower reads of a word, its marks of start and end included
FILLING = "!"  # token 0, which fills it up
GREY = 127.5  # half of white
# All words go through the text tower with every frame: a hundred take about as long as the picture.
MAX_WORDS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenVocabularyOptions:
    """Options of `open_vocabulary`.

    Attributes:
        words: what to look for, 1 to 100: `logo,traffic light,red car`, or `@FILE` with one a line.
        score: least score of a row, 0..1; 0.1 is that of Hugging Face's pipeline.
        nms: largest overlap of two things of one word, as intersection over union, 0..1; with 1 all stay.
        max_objects: most rows of one frame, >= 1.
    """

    words: str = "logo"
    score: float = 0.1
    nms: float = 0.5
    max_objects: int = 100

    def __post_init__(self) -> None:
        for name in ("score", "nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"open_vocabulary.{name} is {getattr(self, name)}; it must be 0 to 1")
        if self.max_objects < 1:
            raise UsageError(f"open_vocabulary.max_objects is {self.max_objects}; it must be at least 1")
        # The words themselves: workers need no file, and rows depend on what it holds, not on its name.
        words = parse_words(self.words, "open_vocabulary.words", MAX_WORDS)
        object.__setattr__(self, "words", "".join(f"{word}\n" for word in words))


class OpenVocabulary(FrameOp):
    """Finds the things that words name; a frame without any has no row."""

    name = "open_vocabulary"
    models = ("open_vocabulary",)
    on_device = True
    Options = OpenVocabularyOptions
    options: OpenVocabularyOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("object_index", pa.int32(), "0-based rank in the frame by descending score"),
            column("label", pa.dictionary(pa.int32(), pa.string()), "the word that fits it best"),
            column("label_index", pa.int32(), "0-based position of that word among those looked for"),
            column(
                "score",
                pa.float32(),
                "how well it fits (sigmoid), 0..1; compare only within one model and the same word",
            ),
            column("box", BOX, "where it is, in display pixels, clipped to the frame"),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = models["open_vocabulary"].entry
        if entry.family != FAMILY:
            raise ModelError(
                f"open_vocabulary: model {entry.name} is of family {entry.family!r}; choose one of {FAMILY}"
            )
        self._size = entry.input_size or SIZE
        words = options.words.splitlines()
        self._labels = pa.array(words, pa.string())
        tokenizer = Tokenizer(entry, TOKENS + 1)
        tokens = tokenizer.encode(words)
        if too_long := [word for word, ids in zip(words, tokens, strict=True) if len(ids) > TOKENS]:
            raise ModelError(
                f"open_vocabulary.words: {too_long[0]!r} has more than the {TOKENS} tokens that model "
                f"{entry.name} reads; say it in fewer words"
            )
        self._ids = np.full((len(words), TOKENS), tokenizer.id_of(FILLING), np.int64)
        self._mask = np.zeros((len(words), TOKENS), np.int64)
        for row, ids in enumerate(tokens):
            self._ids[row, : len(ids)], self._mask[row, : len(ids)] = ids, 1

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        inner = letterbox_size(frames.width, frames.height, self._size)
        pictures = frame_pictures(frames, inner, None)
        # One by one: the words are no part of a batch.
        found = [self._find(pictures[i : i + 1, ...], frames, inner) for i in range(len(frames))]
        return detection_rows(frames, found, self._labels, self.schema)

    def _find(self, picture: Any, frames: Frames, inner: tuple[int, int]) -> Detections:
        """What one frame shows, boxes in display pixels, by descending score."""
        entry = self._entry
        outputs = self.loaded["open_vocabulary"].runner.run_whole(
            {
                "input_ids": self._ids,
                "attention_mask": self._mask,
                "pixel_values": letterbox(
                    picture, self._size, (0, 0), GREY, entry.colour, entry.mean, entry.scale
                ),
            }
        )
        logits, boxes = self._checked(outputs)
        labels = logits.argmax(axis=1)
        # Logits beyond 60 are certain to the last digit; e**-x of far lower ones would overflow.
        scores = (1 / (1 + np.exp(-logits.max(axis=1).clip(-60, 60)))).astype(np.float32)
        likely = np.flatnonzero(scores >= self.options.score)
        corners = _corners(boxes[likely]) * np.array(self._size * 2, np.float32)
        corners *= np.array((frames.width / inner[0], frames.height / inner[1]) * 2, np.float32)
        clipped = np.clip(corners, 0, np.array((frames.width, frames.height) * 2, np.float32))
        seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
        at, most = likely[seen], self.options.max_objects
        keep = nms(corners[seen], scores[at], labels[at], self.options.nms, most)
        return Detections(scores[at][keep], labels[at][keep], clipped[seen][keep])

    def _checked(self, outputs: Mapping[str, Any]) -> tuple[Float32Array, Float32Array]:
        """Logits [places, words] and boxes [places, 4] of one frame."""
        logits, boxes = outputs.get("logits"), outputs.get("pred_boxes")
        if (
            logits is None
            or boxes is None
            or logits.shape[::2] != (1, len(self._labels))
            or boxes.shape != (1, logits.shape[1], 4)
        ):
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"open_vocabulary: model {self._entry.name} gives {shapes} for {len(self._labels)} words, "
                f"but the family {FAMILY} gives logits [1, places, {len(self._labels)}] and pred_boxes "
                "[1, places, 4]; add another model"
            )
        return logits[0], boxes[0]


def _corners(boxes: Float32Array) -> Float32Array:
    """From centres, widths and heights to edges, float32 [n, 4]."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1).astype(np.float32)
