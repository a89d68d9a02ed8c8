"""What a disk holds after a power cut: what was synced for sure, and of the rest any part.

A run is recorded once, each call that changed its folder in order. Played again up to some call, a small
model of a file system tells what is in memory and what is on the disk: bytes of a file get there by its own
sync, a name by one of the folder that it is in.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Effect = tuple[Any, ...]  # name of the call, path, details
Fate = Literal["lost", "kept", "mixed"]  # what becomes of names that were not synced
FATES: tuple[Fate, ...] = ("lost", "kept", "mixed")
CHANGES = ("create", "write", "mkdir", "link", "rename", "replace", "unlink", "remove", "rmdir", "fsync")


@dataclass(slots=True, eq=False)
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass(slots=True, eq=False)
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)


def read_trace(trace: Path) -> list[Effect]:
    """The calls that a run recorded and that change what is on a disk."""
    data, effects, place = trace.read_bytes(), [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "big")
        effect = pickle.loads(data[place + 4 : end])
        place = end
        if effect[0] in CHANGES:
            effects.append(effect)
    return effects


class Disk:
    """A folder in memory and on its disk."""

    def __init__(self) -> None:
        self._root = _Folder()

    def do(self, effect: Effect) -> None:
        """Plays one call."""
        name, path, *details = effect
        folder, last = self._at(path)
        match name:
            case "create" if not (details[0] and last in folder.names):
                old = folder.names.get(last)
                if isinstance(old, _File):  # emptied, and the old bytes may go at any moment
                    old.data, old.synced = bytearray(), b""
                else:
                    folder.names[last] = _File()
            case "write":
                self._file(path).data += details[0]
            case "mkdir":
                folder.names[last] = _Folder()
            case "link":
                to, new = self._at(details[0])
                to.names[new] = folder.names[last]
            case "rename" | "replace":
                to, new = self._at(details[0])
                to.names[new] = folder.names.pop(last)
            case "unlink" | "remove" | "rmdir":
                folder.names.pop(last, None)
            case "fsync":
                found = self._root if path == "." else folder.names.get(last)
                if isinstance(found, _File):
                    found.synced = bytes(found.data)
                elif isinstance(found, _Folder):
                    found.synced = dict(found.names)

    def lay_out(self, folder: Path, fate: Fate, seed: int) -> None:
        """Writes what the disk may hold after a cut now.

        Args:
            fate: of names that are not synced: none is there, or all are, and their files without the bytes
                that are not; or, by the seed, some are, with some of their bytes.
        """
        self._write(self._root, folder, fate, random.Random(seed))

    def _write(self, held: _Folder, folder: Path, fate: Fate, dice: random.Random) -> None:
        is_kept = fate == "kept" or (fate == "mixed" and dice.random() < 0.5)
        for name, what in sorted((held.names if is_kept else held.synced).items()):
            if isinstance(what, _Folder):
                (folder / name).mkdir()
                self._write(what, folder / name, fate, dice)
                continue
            data = what.synced
            if fate == "mixed":
                data += what.data[len(data) : len(data) + dice.randrange(1 + len(what.data) - len(data))]
            (folder / name).write_bytes(data)

    def _at(self, path: str) -> tuple[_Folder, str]:
        *above, last = path.split("/")
        folder = self._root
        for name in above:
            found = folder.names.setdefault(name, _Folder())
            assert isinstance(found, _Folder)
            folder = found
        return folder, last

    def _file(self, path: str) -> _File:
        folder, last = self._at(path)
        found = folder.names[last]
        assert isinstance(found, _File)
        return found


def cuts(effects: Sequence[Effect]) -> Iterator[tuple[int, Disk, int]]:
    """After each call: how many there were, the disk, and the last commit that was reported as done."""
    disk, linked, done = Disk(), 0, 0
    for number, effect in enumerate(effects):
        disk.do(effect)
        name, path, *details = effect
        if name in ("link", "rename") and "/commits/" in details[0]:
            linked = int(Path(details[0]).name[:10])
        if name == "fsync" and path.endswith("/commits"):
            done = linked
        yield number + 1, disk, done
