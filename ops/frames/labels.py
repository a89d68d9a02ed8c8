"""What whole frames show: by words that are compared with their embeddings, or by an ImageNet classifier."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.frames.embeddings import VECTORS, check_space, sorted_vectors
from framemill.ops.frames.text_encoder import TOWER_FAMILIES
from framemill.ops.frames.zero_shot import WordClasses, softmax
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import planes
from framemill.ops.word_lists import parse_words

# Such models are evaluated on the middle 224 x 224 of pictures whose shorter side is 256, as by Krizhevsky et
# al., 2012.
CENTRE = 224 / 256
_INPUT = "input"
# For SigLIP a sentence is a third of the work of a frame (64 tokens to 196 patches), and all go through the
# tower before the first row of a file, whose time is limited.
MAX_WORDS = 1000
# Least probabilities of a row. SigLIP was trained to tell the one caption of a picture from tens of thousands
# of others: a single word that is right but says little of the picture has seldom more than a few hundredths.
LEAST_EXCLUSIVE, LEAST_SINGLE = 0.05, 0.01


def _vocabulary(text: str) -> list[str]:
    return parse_words(text, "labels.vocabulary", MAX_WORDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelsOptions:
    """Options of `labels`.

    Attributes:
        top: most rows of one frame, >= 1.
        score: least probability of a row, 0..1; by default 0.01 where each label has one of its own (SigLIP),
            and 0.05 where all share one (CLIP, ImageNet).
        vocabulary: labels for a text tower, 1 to 1000: `dog,beach,cooking`, or `@FILE` with one a line; by
            default some 340 words for things, places and activities. A classifier has its own.
    """

    top: int = 5
    score: float | None = None
    vocabulary: str = ""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"labels.top is {self.top}; it must be at least 1")
        if self.score is not None and not 0 <= self.score <= 1:
            raise UsageError(f"labels.score is {self.score}; it must be 0 to 1")
        if self.vocabulary:
            # The words themselves: workers need no file, and rows depend on what it holds, not on its name.
            lines = "".join(f"{word}\n" for word in _vocabulary(self.vocabulary))
            object.__setattr__(self, "vocabulary", lines)


class Labels(FrameOp):
    """The most probable labels of each frame; a frame that resembles none has no row."""

    name = "labels"
    version = 2
    on_device = True
    after = (VECTORS,)
    models = ("labels",)
    Options = LabelsOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("rank", pa.int32(), "0-based rank in the frame by descending score"),
            column("label", pa.dictionary(pa.int32(), pa.string()), "name of the class"),
            column(
                "score",
                pa.float32(),
                "its probability, 0..1: with SigLIP that of the label by itself (sigmoid), so that several "
                "may be near 1, or none; with CLIP and ImageNet softmax over all labels, which are taken to "
                "exclude each other; compare only within one model and vocabulary",
            ),
        ]
    )

    @classmethod
    def follows(cls, asked: Collection[str], entry_of: Callable[[str], ModelEntry]) -> tuple[str, ...]:
        """`image_embeddings` for a text tower, nothing for a classifier.

        Raises:
            UsageError: the vectors are of another model than the one that the tower belongs to.
        """
        entry = entry_of("labels")
        if entry.family not in TOWER_FAMILIES:
            return ()
        check_space(entry, entry_of(VECTORS), TOWER_FAMILIES)
        return cls.after

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = models["labels"].entry
        labels = entry.labels
        self._words: WordClasses | None = None
        if entry.family in TOWER_FAMILIES:
            labels = tuple(_vocabulary(options.vocabulary)) if options.vocabulary else labels
            self._words = WordClasses(models["labels"], labels)
        elif entry.family != "imagenet" or entry.input_size is None or not labels:
            raise ModelError(
                f"labels: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size} and {len(labels)} labels; add one of family 'imagenet' with its "
                f"picture size and labels, or one of {', '.join(TOWER_FAMILIES)}"
            )
        elif options.vocabulary:
            raise ModelError(
                f"labels.vocabulary is given, but model {entry.name} has classes of its own; leave it out, "
                "or choose a text tower with `models={'labels': 'NAME'}`"
            )
        is_single = self._words is not None and not self._words.are_exclusive
        least = LEAST_SINGLE if is_single else LEAST_EXCLUSIVE
        self._least = least if options.score is None else options.score
        self._labels = pa.array(labels, pa.string())

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        if self._words is None:
            times = pa.array(frames.frame_index), pa.array(frames.pts_seconds)
            probabilities = self._classify(frames)
        else:
            rows, vectors = sorted_vectors(upstream[VECTORS])
            times = rows["frame_index"], rows["pts_seconds"]
            probabilities = self._words.probabilities(vectors)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.options.top]
        scores = np.take_along_axis(probabilities, order, axis=1)
        frame, rank = np.nonzero(scores >= self._least)
        columns = [
            *(time.take(pa.array(frame)) for time in times),
            pa.array(rank.astype(np.int32)),
            pa.DictionaryArray.from_arrays(pa.array(order[frame, rank].astype(np.int32)), self._labels),
            pa.array(scores[frame, rank]),
        ]
        return pa.table(columns, schema=self.schema)

    def _classify(self, frames: Frames) -> Float32Array:
        """Probabilities of the classifier's classes, float32 [n, classes]."""
        entry = self._entry
        assert entry.input_size is not None
        pictures = frame_pictures(frames, entry.input_size, CENTRE)
        outputs = self.loaded["labels"].runner.run(
            {_INPUT: planes(pictures, entry.colour, entry.mean, entry.scale)}
        )
        wanted = (len(frames), len(entry.labels))
        logits = next(iter(outputs.values()))
        if len(outputs) != 1 or logits.shape != wanted:
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"labels: model {entry.name} gives {shapes} for {wanted[0]} frames, but its {wanted[1]} "
                f"labels ask for one output {list(wanted)}; add it with its own labels"
            )
        return softmax(logits)
