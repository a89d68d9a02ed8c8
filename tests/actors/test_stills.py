from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from framemill.actors.stills import MAX_BYTES, read_still
from framemill.errors import CorruptError, LimitError, UnreadableError, UnsupportedError


def picture() -> np.ndarray:
    y, x = np.mgrid[:90, :160]
    return np.stack([y * 2, x, 255 - x], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("suffix", "off"), [("png", 0), ("bmp", 0), ("jpg", 12), ("webp", 12)])
def test_pictures_are_one_frame(suffix: str, off: int, tmp_path: Path) -> None:
    path = tmp_path / f"p.{suffix}"
    cv2.imwrite(str(path), picture()[..., ::-1])
    still = read_still(str(path))
    assert len(still) == 1 and (still.width, still.height) == (160, 90)
    assert np.abs(still.rgb()[0].astype(int) - picture()).max() <= off


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(60_000, 60_000))
    with pytest.raises(CorruptError, match="or has more than 134217728 pixels"):
        read_still(str(path))
    with path.open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES + 1)
    with pytest.raises(LimitError, match="scale the picture down"):
        read_still(str(path))


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nfile:///etc/hostname\n", b"GIF89a", b"ID3"])
def test_what_is_no_picture_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match="give a JPEG, PNG, WebP or BMP"):
        read_still(str(path))


def test_damage_and_absence_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(CorruptError, match="cannot be decoded"):
        read_still(str(path))
    with pytest.raises(UnreadableError):
        read_still(str(tmp_path / "absent.png"))
    with pytest.raises(UnsupportedError, match="folder"):
        read_still(str(tmp_path))
