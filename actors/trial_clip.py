"""A clip of four grey pictures, which a device decodes before it is trusted with files."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from framemill.actors.dali_copies import Copy
from framemill.models.arrays import to_host
from framemill.ops.pixels.resizing import resize_linear

# Luma of the pictures, in order of presentation, and what R, G and B are at each (BT.601, 16 to 235).
LUMA = (50, 100, 150, 200)
GREY = tuple((luma - 16) * 255 / 219 for luma in LUMA)
# Levels by which a decoder may be off: rounding, and another matrix of colours. The pictures differ by 58.
MARGIN = 8
_VIEW = (48, 32)
# 128 x 128 in Matroska, compressed by zlib: H.264 with a B frame, so that the third picture is decoded before
# the second; and VP8, which DALI's variant for the host takes.
_CLIPS = {
    "gpu": (
        "eNqTcr2/eLFTWyOj03cg/tTI4vS5kcOpqSM3saQovzg70akdKNTayCQR3JDOyAACTPsFfWeXHNjfcn7y1WO+u7uDV7eIeq5M"
        "C17TuBDCEwtZlw3knfHd3QPkCYUcTg9e08RYAOHKBO8GSjYxLX4DMY0hmIH6AOSeZftbbhfNtta6vrGZ38nBt6HFJ7EsLdwR"
        "TLl0djikQJSCHOswb3/LOSM36XVQJ/Vfb2QsPtoBNYxxTiOD0tY5zaV5KR2NDG39YfG+Aa7uJvqewf76jmHOzY2Myo+bW5iS"
        "ohgezNjQ2LCrsWFWI1PIpkaW0A0dodsbGUN3NDKFvmtkgHmYiYEhedEaxhQG7v8PGcTTgfSaJxyCCxkYmBkYQYQRv4imECMD"
        "W8brx6eVDvz98YMBFIS797c8tQh+W1y8KflAdzLCceknFrou7nAJDXIM8fT3c2mfbGBgBUZ6hmYGEMAg77yt1OHt/pa40iU7"
        "nzcyLL7dyMDQANSsntrRwnD6/79vb/axmpZPDJguqHP0lleBnc7u5ZYrVZTXnFqwodmsgdESqFQjlUVJkcGIsNrFqxsZAkAu"
        "43ecpdnf+IMtkHv/v54N0QeAQgKOLGpdyQ/qGKc4vQeLLZ7byKABUszBOM/1idZ/Zncgm5ORRX1iJdd+ZvfFOxsZKsCR5DjL"
        "V71Fkaf9wB+2Fv4DaUyi9f8sHJWBMuJAIyd7PuRwVvxgz7iQ+YNkQ2s8SAqUzKbvb8l8+kh1d//mRobtXcDk/bGJccOHRk4A"
        "07j41Q=="
    ),
    "cpu": (
        "eNqTcr2/eLFTWyOj03cg/tTI4vS5kcOpqSM3saQovzg70akdKNTayCQR3JDOyAACTIGCvrNLDuxvmfrpc4rv7u7g1S2inivT"
        "gtc0LoTwxELWZQN5Z3x39wB5QiGH04PXNDFqQLgywbuBkk1Mpm8gpjEEM1AfgNyzbH/L7aLZ1lrXNzbzOzn4NrT4JJalhTuC"
        "KZfODocUiFKQY6/vb/HaaCK3Duoij+uNjMVHO6BmMc5pZFDaOqe5NC+lo5GhrTUsPizAormRUflxcwtTUhTDg64NjQ27GhtC"
        "NjWyhL5rZID5i4mBAeT13ftbnloEvy0u3pR8oDsZYWr6iYWuiztcQoMcQzz9/VzaJxsYWIGRnqGZAQQwyDtvK3U4vr/lVAJ3"
        "y/NGhsX7GxkYGiawMsxl1GpgaGBgcOdobe1obelgYmJg0+DnKA2Z9U7xalD2jvZQz3WPZEPVdndAhAJ/MPz797OcYfHKRgYN"
        "hovMDKwCaxgkGCS2z//CwH3Ig2E1A2sEA9cBhjAGpg0MAgz/3j5jWLy8kSGAYSJC6RceYLA2cB1gTWDawBjBsAaomOHfQw2w"
        "wgqCCj/0MYAifvr+FvkSpmO7+zc3MmzvAia4j02MGR8aOQHKU8iN"
    ),
}


def trial_clip(device: str) -> Copy:
    """The clip for `gpu` or `cpu`, with all of its pictures asked for."""
    numbers = np.arange(len(LUMA), dtype=np.int32)
    content = zlib.decompress(base64.b64decode(_CLIPS[device]))
    return Copy(content, numbers.astype(np.int64), numbers)


def trial_problem(decode: Callable[[Sequence[Copy]], Sequence[Any]], device: str) -> str:
    """Why a device does not decode the clip, or makes no views of it; empty where its pictures are right.

    Args:
        decode: gives for each copy uint8 [n, height, width, 3], or an exception, as `DaliDecoder.decode`.
    """
    try:
        (pixels,) = decode([trial_clip(device)])
        if isinstance(pixels, Exception):
            raise pixels
        # As operations look at them: that takes kernels, which a device may lack what it needs to compile.
        views = to_host(resize_linear(pixels, _VIEW)).astype(np.float64)
        found = views.mean(axis=(1, 2, 3))
    except Exception as error:  # of any class: whatever a driver or library lacks, the host decodes instead
        return _in_words(error)
    if np.abs(found - GREY).max() > MARGIN:
        means = ", ".join(f"{mean:.0f}" for mean in found)
        wanted = ", ".join(f"{grey:.0f}" for grey in GREY)
        return f"its pictures are wrong: grey levels {means} where {wanted} are right"
    return ""


def _in_words(error: BaseException) -> str:
    """An error with those that it came from, each on one line: DALI tells what happened in the first one."""
    said: list[str] = []
    at: BaseException | None = error
    while at is not None:
        said.append(f"{type(at).__name__}: {' '.join(str(at).split()) or 'no message'}"[:300])
        at = at.__cause__ or at.__context__
    return "; from ".join(dict.fromkeys(said))
