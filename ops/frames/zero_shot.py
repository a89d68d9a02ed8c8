"""Classes that are named by words: a picture is compared with sentences that say what it may show.

CLIP: Radford et al., arXiv:2103.00020: classes exclude each other, and the softmax over the scaled cosines
tells how probable each is. SigLIP: Zhai et al., arXiv:2303.15343: each sentence fits the picture or not, by
the sigmoid of its own scaled and shifted cosine. The sentences around the words are that of CLIP's paper, and
the one that Hugging Face's pipeline has for SigLIP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array
from framemill.ops.frames.text_encoder import TOWER_FAMILIES, TextEncoder

Float64Array = npt.NDArray[np.float64]

_SENTENCES: Mapping[str, str] = {
    **dict.fromkeys(("clip_text", "openclip_text"), "a photo of a {}."),
    "siglip_text": "This is a photo of {}.",
    "siglip2_text": "This is a photo of {}.",
}
# Families whose classes exclude each other.
_EXCLUSIVE = ("clip_text", "openclip_text")
assert set(_SENTENCES) == set(TOWER_FAMILIES)


class WordClasses:
    """Tells which words fit pictures, by their vectors; the words go through the tower once, when it is made.

    Attributes:
        are_exclusive: whether the probabilities of a picture sum to 1.
    """

    def __init__(self, model: Model, words: Sequence[str]) -> None:
        """Raises ModelError where the tower's scale is not known, or there are no words."""
        entry = model.entry
        if not entry.logit_scale:
            raise ModelError(
                f"labels: model {entry.name} states no `logit_scale`, without which cosines are no "
                "probabilities; put the one of its weights into its block, with `logit_bias` for SigLIP"
            )
        if not words:
            raise ModelError(
                f"labels: model {entry.name} states no `labels`; name them in its block, or in the option "
                "`vocabulary`"
            )
        self.are_exclusive = entry.family in _EXCLUSIVE
        self._entry = entry
        sentence = _SENTENCES[entry.family]
        encoder = TextEncoder("labels", model, TOWER_FAMILIES)
        self._texts = encoder.encode([sentence.format(word) for word in words]).astype(np.float64)

    def probabilities(self, vectors: Float32Array) -> Float32Array:
        """How well each word fits each picture, 0..1, float32 [n, words].

        Args:
            vectors: of pictures, of length 1, float32 [n, d].
        """
        if vectors.shape[1] != self._texts.shape[1]:
            raise ModelError(
                f"labels: the vectors of pictures have {vectors.shape[1]} numbers, those of model "
                f"{self._entry.name} {self._texts.shape[1]}; choose the text tower of the image model"
            )
        # Picture by picture: products of whole batches are rounded differently for each length.
        cosines = np.stack([self._texts @ vector for vector in vectors.astype(np.float64)])
        logits = self._entry.logit_scale * cosines + self._entry.logit_bias
        return softmax(logits) if self.are_exclusive else sigmoid(logits)


def softmax(logits: npt.NDArray[np.floating]) -> Float32Array:
    """Probabilities of classes that exclude each other, float32 [n, classes], of logits."""
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    probabilities: Float32Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def sigmoid(logits: Float64Array) -> Float32Array:
    """Probabilities of classes each by itself, float32 [n, classes], of logits."""
    # The exponent is never positive, so that nothing overflows.
    powers = np.exp(-np.abs(logits))
    probabilities: Float32Array = (np.where(logits >= 0, 1, powers) / (1 + powers)).astype(np.float32)
    return probabilities
