"""Where clips are written: a folder or an object store, and what a run before this one left there.

A clip is made under a hidden name and gets its own when it is whole; then a line in a journal tells of it. A
run that was killed leaves clips without a line at worst, which the next one makes again under the same name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framemill.actors.clip_cutting import Cut
from framemill.cluster.results.layout import write_file
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath, list_names, open_root, unlink_all
from framemill.errors import DatasetError, UsageError

HIDDEN = ".framemill"
_MARKER = "clips.json"
_VERSION = 1
_LINES_AN_OBJECT = 50  # of a journal in an object store, which is written anew each time
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Made(Cut):
    """A clip that was cut, or could not be.

    Attributes:
        name: of its file without the ending. key: digest of all that it depends on.
        num_bytes, sha256: of its file.
    """

    name: str
    key: str
    num_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run puts what; it travels to the processes that cut.

    Attributes:
        clips: folder of the clips themselves. journal: of the journals.
        scratch: for what is not whole yet, on the disk of `clips`; None where that is an object store.
    """

    clips: ResultPath
    journal: ResultPath
    scratch: Path | None

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A folder of this machine for what is not whole yet."""
        if self.scratch is not None:
            yield self.scratch
            return
        with tempfile.TemporaryDirectory(prefix="framemill-clips-") as folder:
            yield Path(folder)


class Target:
    """A place that one run writes clips to.

    Attributes:
        root: the place. form: one of `choices.FORMATS`. places: see there.
    """

    def __init__(self, root: ResultPath, form: str, places: Places) -> None:
        self.root, self.form, self.places = root, form, places

    @property
    def hidden(self) -> ResultPath:
        return self.root / HIDDEN

    def made(self) -> dict[str, Made]:
        """Name -> clip, of those whose files are there, whole and told of in a journal."""
        sizes = _sizes(self.places.clips)
        told: dict[str, Made] = {}
        for line in _lines(self.places.journal):
            # A line that was cut short by a kill tells nothing.
            with contextlib.suppress(ValueError, TypeError):
                made = Made(**json.loads(line))
                told[made.name] = made
        return {name: made for name, made in told.items() if sizes.get(f"{name}.mp4") == made.num_bytes}

    def remove(self, names: Iterable[str]) -> None:
        """Removes clips that are no longer in the plan."""
        unlink_all(self.places.clips, [f"{name}.mp4" for name in names])


@contextlib.contextmanager
def open_target(folder: str | os.PathLike[str], form: str, is_spread: bool = False) -> Iterator[Target]:
    """The place to write clips to, held against other runs on this machine until the block ends.

    Args:
        folder: a path or an address in an object store; empty, not there, or of a run before.
        form: one of `choices.FORMATS`.
        is_spread: whether machines that share no disk with this one write there.

    Raises:
        UsageError: it holds something else, or another run writes there.
        DatasetError: it cannot be written.
    """
    root = open_root(folder)
    with writing(root):
        marker = root / HIDDEN / _MARKER
        if not marker.exists():
            _require_empty(root)
            (root / HIDDEN).mkdir(parents=True, exist_ok=True)
            write_file(marker, json.dumps({"version": _VERSION, "format": form}).encode(), replace=True)
        there = json.loads(marker.read_bytes()).get("format")
        if there != form:
            raise UsageError(f"{root} holds clips as {there}: name another folder for {form}")
    if isinstance(root, RemotePath):
        with tempfile.TemporaryDirectory(prefix="framemill-clips-") as waiting:
            yield Target(root, form, _places(root, form, root / HIDDEN if is_spread else Path(waiting), None))
        return
    scratch = root / HIDDEN / "scratch"
    with _locked(root / HIDDEN):
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            with writing(root):
                scratch.mkdir()
                places = _places(root, form, root / HIDDEN, scratch)
            yield Target(root, form, places)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _places(root: ResultPath, form: str, waiting: ResultPath, scratch: Path | None) -> Places:
    """Where what goes; clips of shards wait in a folder of `waiting` until they are in one."""
    if form == "webdataset":
        places = Places(waiting / "clips", waiting / "journal", scratch)
    else:
        places = Places(root / "train" if form == "hf" else root, root / HIDDEN / "journal", scratch)
    for path in (places.clips, places.journal):
        path.mkdir(parents=True, exist_ok=True)
    return places


def _require_empty(root: ResultPath) -> None:
    there = [name for name in list_names(root) if name != HIDDEN] if root.is_dir() else []
    if not isinstance(root, RemotePath) and root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file: name a folder for the clips")
    if there:
        raise UsageError(f"{root} is not empty, and holds no clips: name a new folder, or empty it")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise UsageError(f"another run writes clips to {folder.parent}: wait until it has ended") from exc
        yield


class Journal:
    """Tells of the clips of one source as they get their names."""

    def __init__(self, folder: ResultPath, name: str) -> None:
        self._path = folder / f"{name}.jsonl"
        self._lines: list[str] = []
        self._is_remote = isinstance(folder, RemotePath)
        if self._is_remote and self._path.exists():
            self._lines = self._path.read_bytes().decode().splitlines()

    def add(self, made: Made) -> None:
        line = json.dumps(asdict(made))
        if not self._is_remote:
            with open(Path(str(self._path)), "a") as file:
                file.write(f"\n{line}\n")  # first an end for a line that a kill cut short
            return
        self._lines.append(line)
        if len(self._lines) % _LINES_AN_OBJECT == 0:
            self.close()

    def close(self) -> None:
        if self._lines:
            self._path.write_bytes("\n".join(self._lines).encode())


def place_clip(part: Path, clips: ResultPath, name: str) -> tuple[int, str]:
    """Gives a clip that is whole its name; returns its size and SHA-256."""
    digest = hashlib.sha256()
    with open(part, "rb") as file:
        while data := file.read(_COPY_BYTES):
            digest.update(data)
        size = file.tell()
        os.fsync(file.fileno())
        if isinstance(clips, RemotePath):
            file.seek(0)
            (clips / f"{name}.mp4").upload(file)
    if not isinstance(clips, RemotePath):
        os.replace(part, clips / f"{name}.mp4")
    return size, digest.hexdigest()


@contextlib.contextmanager
def writing(path: ResultPath) -> Iterator[None]:
    """Turns what the operating system says into an error that names the remedy.

    Raises:
        UsageError: the folder cannot be made or written.
        DatasetError: the disk is full, or fails.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, PermissionError | NotADirectoryError) or exc.errno == errno.EROFS:
            raise UsageError(f"{path} cannot be written ({exc.strerror}): choose another folder") from exc
        room = "free some space and " if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise DatasetError(
            f"{path} cannot be written: {exc.strerror or exc}; {room}run the same command again, which goes "
            "on from here"
        ) from exc


def _sizes(folder: ResultPath) -> Mapping[str, int]:
    if isinstance(folder, RemotePath):
        return {name: size for name, size, _ in folder.list_inside()}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".mp4")}


def _lines(folder: ResultPath) -> Iterator[str]:
    for name in sorted(list_names(folder)):
        yield from (folder / name).read_bytes().decode(errors="replace").splitlines()


def facts_of(made: Made) -> dict[str, Any]:
    """What a person wants to know of a clip, beside where it is from."""
    told = asdict(made)
    for name in ("key", "problem", "name"):
        del told[name]
    return told
