"""A folder in which files appear, grow, vanish and come back."""

from __future__ import annotations

import random
from pathlib import Path

from tests.cluster.extraction import render_clip

SIZE = (64, 48)
HALF_WRITTEN = 0.1  # of the files that arrive
MOST_AWAY = 0.2  # of all files


class Arrivals:
    """Tiny clips of different content in `folder`; those that vanished wait beside it."""

    def __init__(self, base: Path, moments: random.Random) -> None:
        self.folder, self._away = base / "in", base / "away"
        self.folder.mkdir()
        self._away.mkdir()
        self._moments = moments
        self._clips = [
            render_clip(base / f"clip{seed}.mp4", seed=seed, seconds=1.0, size=SIZE).read_bytes()
            for seed in range(3)
        ]
        self._half: dict[Path, bytes] = {}
        self.count = 0

    def arrive(self, count: int, *, in_whole: bool = False) -> None:
        """So many more files; some hold only half of what they will, unless told otherwise."""
        for _ in range(count):
            # A box that players pass over, with the number of the file in it.
            free = (16).to_bytes(4, "big") + b"free" + self.count.to_bytes(8, "big")
            whole = self._clips[self.count % len(self._clips)] + free
            path = self.folder / f"{self.count:06}.mp4"
            is_half = not in_whole and self._moments.random() < HALF_WRITTEN
            path.write_bytes(whole[: len(whole) // 2] if is_half else whole)
            if is_half:
                self._half[path] = whole
            self.count += 1

    def grow(self) -> None:
        """What was half written, and is there, becomes whole."""
        for path in [path for path in self._half if path.exists()]:
            path.write_bytes(self._half.pop(path))

    def vanish(self, count: int) -> None:
        """So many files go, and some of those that went before come back."""
        gone = sorted(self._away.iterdir())
        for path in self._moments.sample(gone, min(len(gone), count // 2)):
            path.rename(self.folder / path.name)
        there = sorted(self.folder.iterdir())
        if len(gone) < MOST_AWAY * self.count:
            for path in self._moments.sample(there, min(len(there) // 2, count)):
                path.rename(self._away / path.name)

    def settle(self) -> None:
        """All files are there, and whole."""
        for path in self._away.iterdir():
            path.rename(self.folder / path.name)
        self.grow()
