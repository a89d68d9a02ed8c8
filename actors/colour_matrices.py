"""How colours are coded as luma and two colour differences: matrices and ranges, as arithmetic."""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import Float64Array

# Untagged pictures from 720 lines up are taken for BT.709, below for BT.601, as players do.
HD_LINES = 720
# Codes of ITU-T H.273, table 4; all others count as untagged.
_CODES = {
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
# The same codes as `media.color_space` names them; 2 is for pictures without a tag.
SPACE_NAMES = {
    0: "gbr",
    1: "itu709",
    4: "fcc",
    5: "itu601",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
# Red's and blue's share of luma (ITU-R BT.601-7 2.5.1, BT.709-6 3.2, BT.2020-2 table 4; ITU-T H.273 table 4
# for those of the FCC's rules and of SMPTE ST 240).
_SHARES = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


def matrix_name(code: int, num_lines: int) -> str:
    """bt601, bt709, bt2020, fcc or smpte240m: what a code of H.273 stands for, else what the size implies."""
    return _CODES.get(code) or ("bt709" if num_lines >= HD_LINES else "bt601")


def to_ycc(matrix: str) -> Float64Array:
    """From R, G, B to luma and the two colour differences, float64 [3, 3]; range and offset left out."""
    red, blue = _SHARES[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, (np.eye(3)[2] - luma) / (2 - 2 * blue), (np.eye(3)[0] - luma) / (2 - 2 * red)])


def luma_from_samples(bits: int, is_full_range: bool) -> Float64Array:
    """From a stored sample of luma and a 1 to 0..255, float64 [1, 2].

    Args:
        bits: of each sample, >= 8.
        is_full_range: whether luma uses all values; else 16..235 at 8 bits, and multiples of that at more
            (ITU-R BT.709-6 4.6, BT.2020-2 table 5).
    """
    unit = 1 << (bits - 8)
    black, white = (0, 256 * unit - 1) if is_full_range else (16 * unit, 235 * unit)
    return np.array([[1.0, -black]]) * (255 / (white - black))


def rgb_from_samples(matrix: str, bits: int, is_full_range: bool) -> Float64Array:
    """From stored samples Y, Cb, Cr and a 1 to R, G, B in 0..255, float64 [3, 4].

    Args:
        matrix: as `matrix_name` gives it.
        bits, is_full_range: as in `luma_from_samples`; where luma has 16..235, colours have 16..240.
    """
    unit = 1 << (bits - 8)
    colour = 255 / (256 * unit - 1 if is_full_range else 224 * unit)
    stored = np.zeros((3, 4))
    stored[0, [0, 3]] = luma_from_samples(bits, is_full_range)
    stored[1, [1, 3]] = stored[2, [2, 3]] = colour, -128 * unit * colour
    return np.linalg.inv(to_ycc(matrix)) @ stored
