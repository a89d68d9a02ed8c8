"""Whisper networks of any size with random weights, as folders that CTranslate2 opens: for timing alone.

The layout is that of CTranslate2's own converter: queries, keys and values of one layer lie in one matrix,
those of the attention to the sound in two, and the output shares the embedding's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

END, START, NO_SPEECH, NO_TIMES = "<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>", "<|notimestamps|>"
# Tokens that the network's code looks for by name; the first of the vocabulary.
TOKENS = (END, START, "<|en|>", "<|transcribe|>", NO_SPEECH, NO_TIMES)
# What comes before each text, by positions in the vocabulary: its end is then left to the network alone.
PROMPT = tuple(TOKENS.index(name) for name in (START, "<|en|>", "<|transcribe|>", NO_TIMES))
SOUND_POSITIONS, TEXT_POSITIONS = 1_500, 448
_SPREAD = 0.02  # of the weights: that of a network before its training, which keeps float16 in range


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a network.

    Attributes:
        num_layers: of the encoder, and of the decoder. num_heads: of each attention.
        width: of what goes from layer to layer, a multiple of `num_heads`. num_mels: bands of the sound.
        num_tokens: size of the vocabulary, more than those of `TOKENS`.
    """

    num_layers: int
    num_heads: int
    width: int
    num_mels: int
    num_tokens: int


# Radford et al., arXiv:2212.04356, table 1; the third version has more bands and one more language.
LARGE_V3 = Shape(num_layers=32, num_heads=20, width=1280, num_mels=128, num_tokens=51_866)


def write_whisper(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Writes `model.bin`, `config.json` and `vocabulary.json` in half precision into a folder that is there.

    About 3.1 GB for `LARGE_V3`, and as much memory while it works.
    """
    from ctranslate2.specs import WhisperSpec

    generator = np.random.default_rng(seed)
    width = shape.width

    def weights(*size: int) -> npt.NDArray[np.float16]:
        values = generator.standard_normal(size, np.float32)
        values *= _SPREAD
        return values.astype(np.float16)

    def fill(linear: Any, num_outputs: int, num_inputs: int) -> None:
        linear.weight, linear.bias = weights(num_outputs, num_inputs), weights(num_outputs)

    def centre(norm: Any) -> None:
        norm.gamma, norm.beta = 1 + weights(width), weights(width)

    def attend(attention: Any, sizes: Sequence[int]) -> None:
        centre(attention.layer_norm)
        for linear, size in zip(attention.linear, sizes, strict=True):
            fill(linear, size * width, width)

    spec = WhisperSpec(shape.num_layers, shape.num_heads, shape.num_layers, shape.num_heads)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = weights(width, shape.num_mels, 3), weights(width)
    encoder.conv2.weight, encoder.conv2.bias = weights(width, width, 3), weights(width)
    encoder.position_encodings.encodings = weights(SOUND_POSITIONS, width)
    decoder.position_encodings.encodings = weights(TEXT_POSITIONS, width)
    decoder.embeddings.weight = weights(shape.num_tokens, width)
    decoder.projection.weight = decoder.embeddings.weight
    for half in (encoder, decoder):
        centre(half.layer_norm)
        for layer in half.layer:
            attend(layer.self_attention, (3, 1))
            if half is decoder:
                attend(layer.attention, (1, 2, 1))
            centre(layer.ffn.layer_norm)
            fill(layer.ffn.linear_0, 4 * width, width)
            fill(layer.ffn.linear_1, width, 4 * width)
    spec.config.suppress_ids = spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [TOKENS.index("<|en|>")]
    spec.config.alignment_heads = [[shape.num_layers - 1, 0]]
    spec.register_vocabulary([*TOKENS, *(f"text{i}" for i in range(shape.num_tokens - len(TOKENS)))])
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(folder))
