"""Reading lines of text: each is cut out upright, turned by half a turn where needed, and recognised.

The recogniser is a CTC network (Graves et al., "Connectionist Temporal Classification", ICML 2006): it
gives each step along the line a probability per character, of which class 0 is the blank between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, UInt8Array
from framemill.ops.pixels.model_input import planes

TALL = 1.5  # a line this many times as high as wide runs upwards
FLIP_SCORE = 0.9  # least probability at which a line is turned by half a turn
# Lines are padded to the next of these widths, and read together with others of that width. It depends on
# the line alone, so that the result never depends on the lines beside it.
WIDTH_STEP = 64
MAX_WIDTH = 3200  # longer lines are squeezed: bounds memory


class Reading(NamedTuple):
    """A line's text and the mean probability of its characters, 0..1."""

    text: str
    score: float


def cut_line(picture: UInt8Array, quad: Float32Array) -> UInt8Array:
    """A quadrangle of a frame as an upright picture of its own size.

    Args:
        picture: uint8 [height, width, 3] of the frame. quad: float32 [4, 2], clockwise from the top left.
    """
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    wide, high = max(1, int(max(sides[0], sides[2]))), max(1, int(max(sides[1], sides[3])))
    target = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    line = cv2.warpPerspective(
        picture,
        cv2.getPerspectiveTransform(quad, target),
        (wide, high),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cast(UInt8Array, np.ascontiguousarray(np.rot90(line)) if high >= TALL * wide else line)


def turn_upright(lines: Sequence[UInt8Array], model: Model) -> list[UInt8Array]:
    """The lines, with those that are clearly upside down turned by half a turn.

    Raises:
        ModelError: the model does not give two probabilities a line.
    """
    if model.entry.input_size is None:
        raise ModelError(f"text: model {model.entry.name} has no picture size; add it with input_size")
    wide, high = model.entry.input_size
    batch = _padded([_at_height(line, high, wide) for line in lines], wide, model)
    turned = next(iter(model.runner.run({"x": batch}).values()))
    if turned.shape != (len(lines), 2):
        raise ModelError(
            f"text: model {model.entry.name} gives {list(turned.shape)} for {len(lines)} lines; it must give "
            f"[{len(lines)}, 2], the probabilities of 0 and 180 degrees"
        )
    return [
        cast(UInt8Array, cv2.rotate(line, cv2.ROTATE_180)) if flip > FLIP_SCORE else line
        for line, flip in zip(lines, turned[:, 1], strict=True)
    ]


def read_lines(lines: Sequence[UInt8Array], model: Model, characters: Sequence[str]) -> list[Reading]:
    """The text of each line, batched by width.

    Args:
        lines: uint8 [h, w, 3] RGB each.
        characters: by class index; class 0 is the blank.

    Raises:
        ModelError: the model's classes are not these characters, or its height is not known.
    """
    if model.entry.input_size is None:
        raise ModelError(
            f"text: model {model.entry.name} has no picture size; "
            "add it with input_size = [least width, height]"
        )
    least, high = model.entry.input_size
    pictures = [_at_height(line, high, MAX_WIDTH) for line in lines]
    by_width: dict[int, list[int]] = {}
    for position, picture in enumerate(pictures):
        wide = max(least, math.ceil(picture.shape[1] / WIDTH_STEP) * WIDTH_STEP)
        by_width.setdefault(wide, []).append(position)
    found: dict[int, Reading] = {}
    for wide, positions in sorted(by_width.items()):
        batch = _padded([pictures[position] for position in positions], wide, model)
        steps = next(iter(model.runner.run({"x": batch}).values()))
        if steps.ndim != 3 or steps.shape[::2] != (len(positions), len(characters)):
            raise ModelError(
                f"text: model {model.entry.name} gives {list(steps.shape)} for {len(positions)} lines and "
                f"{len(characters)} characters; it must give [{len(positions)}, steps, {len(characters)}]: "
                "add it with its own labels"
            )
        found |= zip(positions, decode(steps, characters), strict=True)
    return [found[position] for position in range(len(lines))]


def decode(steps: Float32Array, characters: Sequence[str]) -> list[Reading]:
    """The best path of each line, repeats joined and blanks left out.

    Args:
        steps: float32 [lines, steps, classes], probabilities.
    """
    best = steps.argmax(axis=2)
    peaks = np.take_along_axis(steps, best[:, :, None], axis=2)[:, :, 0]
    is_new = np.concatenate([np.ones((len(best), 1), bool), best[:, 1:] != best[:, :-1]], axis=1)
    is_character = (best != 0) & is_new
    return [
        Reading(
            "".join(characters[label] for label in row[use]),
            float(probabilities[use].mean()) if use.any() else 0,
        )
        for row, probabilities, use in zip(best, peaks, is_character, strict=True)
    ]


def _at_height(line: UInt8Array, high: int, widest: int) -> UInt8Array:
    wide = min(widest, math.ceil(high * (line.shape[1] / line.shape[0])))
    return cast(UInt8Array, cv2.resize(line, (wide, high), interpolation=cv2.INTER_LINEAR))


def _padded(pictures: Sequence[UInt8Array], wide: int, model: Model) -> Float32Array:
    """Pictures of one height as the model takes them, float32 [n, 3, high, wide], 0 to the right of each."""
    batch = np.zeros((len(pictures), 3, pictures[0].shape[0], wide), np.float32)
    entry = model.entry
    for row, picture in zip(batch, pictures, strict=True):
        row[:, :, : picture.shape[1]] = planes(picture[None], entry.colour, entry.mean, entry.scale)[0]
    return batch
