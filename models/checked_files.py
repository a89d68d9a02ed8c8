"""Files of models whose digests were checked, and reading them so that only the checked bytes are used.

Between the check and the reading a file may be replaced or written to. So what was checked is remembered,
with the state that the file system told of the very file; whoever reads compares the state before and after,
and takes the digest again where it is another.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from framemill.errors import ModelError

# Changes with every write and every replacement; nobody can set the last of them, the time of the change.
_State: TypeAlias = tuple[int, int, int, int, int]
# Times of changes are told in steps of some milliseconds, on some storage of two seconds: in a file that is
# younger another change might not show.
_STEP_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class _Checked:
    """`sha256`: as hex digits. `state`: of the file when it had it; None where that is not known."""

    sha256: str
    state: _State | None


_checked: dict[str, _Checked] = {}


def expect(path: Path, sha256: str) -> None:
    """Has every later reading of a file in this process take nothing but bytes of this digest."""
    _checked[os.fspath(path)] = _Checked(sha256, None)


def check_file(path: Path, sha256: str) -> str:
    """The digest of a file's bytes as hex digits; they are expected from now on, if it is `sha256`.

    Raises:
        ModelError: it cannot be read.
    """
    with _opened(path) as file:
        before = _state(file)
        got = _digest(file)
        is_still = before == _state(file) and time.time() - before[-1] / 1e9 > _STEP_SECONDS
    if got == sha256:
        _checked[os.fspath(path)] = _Checked(sha256, before if is_still else None)
    return got


def is_checked(path: Path) -> bool:
    """Whether the digest of a file was checked in this process."""
    return os.fspath(path) in _checked


def read_checked(path: Path) -> bytes:
    """All bytes of a file, which are those that were checked, if it was.

    Raises:
        ModelError: it cannot be read, or was changed after it had been checked.
    """
    with _opened(path) as file:
        before = _state(file)
        content = file.readall()
        known = _checked.get(os.fspath(path))
        if known is not None and not known.state == before == _state(file):
            got = hashlib.sha256(content).hexdigest()
            if got != known.sha256:
                raise _changed(path, got, known.sha256)
    return content


@contextmanager
def holding(folder: Path) -> Iterator[Path]:
    """A folder with the checked files of `folder`, held open so that nothing can take their places.

    For libraries that want a path and would double files of gigabytes in memory. A file that is written to
    meanwhile shows in the end; then nothing may be used that was made within. Where nothing in the folder was
    checked, it is `folder` itself.

    Raises:
        ModelError: a file cannot be read, or was changed after it had been checked; on leaving, too. There is
            no folder for temporary files.
    """
    paths = [Path(path) for path in list(_checked) if Path(path).is_relative_to(folder)]
    if not paths:
        yield folder
        return
    with ExitStack() as stack:
        try:
            links = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="framemill-model-")))
        except OSError as exc:
            raise ModelError(
                f"{folder} cannot be opened: {exc.strerror}, where temporary files go; set TMPDIR to a "
                "folder that can be written"
            ) from exc
        held = []
        for path in paths:
            file = stack.enter_context(_opened(path))
            known, state = _checked[os.fspath(path)], _state(file)
            if known.state != state:
                got = _digest(file)
                if got != known.sha256:
                    raise _changed(path, got, known.sha256)
                file.seek(0)  # macOS has who opens it go on from here
            held.append((path, file, state))
            link = links / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/dev/fd/{file.fileno()}")
        yield links
        for path, file, state in held:
            if _state(file) != state:
                raise _changed(path, "other than before", _checked[os.fspath(path)].sha256)


def _digest(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _state(file: FileIO) -> _State:
    info = os.fstat(file.fileno())
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    try:
        with FileIO(path) as file:
            yield file
    except OSError as exc:
        raise ModelError(
            f"model file {path} cannot be read: {exc.strerror}; check the path and its permissions"
        ) from exc


def _changed(path: Path, got: str, wanted: str) -> ModelError:
    return ModelError(
        f"{path} was changed after it had been checked: it has sha256 {got}, wanted {wanted}; put the right "
        "file there and leave it alone while it is opened"
    )
