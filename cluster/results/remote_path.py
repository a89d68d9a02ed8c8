"""A place for results in an object store, with the methods of `pathlib.Path` that results need.

An object store has no rename, no locks and no half-written objects: an object is there, whole, or not.
`layout` (for parts) and `remote_lease` (for holding a folder) describe what replaces the first two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from framemill.actors.object_store import (
    ask,
    describe_error,
    endpoint,
    list_objects,
    open_store,
    setup_problem,
    status_and_code,
)
from framemill.errors import SetupError

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class RemotePath:
    """An object, or a folder of objects: as much of `pathlib.Path` as results need.

    Every method raises SetupError where only a person can help (no bucket, no permission, no credentials),
    and OSError where the storage fails.

    Attributes:
        scheme: s3 or gs. bucket: its name. key: without slashes at its ends.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.scheme, self.bucket, f"{self.key}/{name}".rstrip("/"))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is an object of this name."""
        try:
            with self._opened() as store:
                store.head(self.key)
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is any object inside."""
        return next(self.list_inside(), None) is not None

    def read_bytes(self) -> bytes:
        with self._opened() as store:
            return bytes(store.get(self.key).bytes())

    def read_lines(self) -> Iterator[bytes]:
        """The lines of the object, which is never in memory whole."""
        with self._opened() as store:
            rest: list[bytes] = []
            for chunk in store.get(self.key):
                first, *others = bytes(chunk).split(b"\n")
                rest.append(first)
                for line in others:
                    yield b"".join(rest)
                    rest = [line]
            if any(rest):
                yield b"".join(rest)

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the object, with start < end."""
        with self._opened() as store:
            return bytes(store.get_range(self.key, start=start, end=end))

    def num_bytes(self) -> int:
        """Size of the object."""
        with self._opened() as store:
            return int(store.head(self.key)["size"])

    def write_bytes(self, data: bytes) -> None:
        """Makes or replaces the object in one step."""
        with self._opened() as store:
            store.put(self.key, data)

    def write_text(self, text: str) -> None:
        self.write_bytes(text.encode())

    def write_new(self, data: bytes) -> None:
        """Makes the object if there is none, by a conditional put.

        Raises:
            FileExistsError: there is one with other bytes, or there was one that is gone already.
        """
        try:
            with self._opened() as store:
                ask(lambda: store.put(self.key, data, mode="create"))
        except FileExistsError as exists:
            # An answer that got lost is asked for again, and then our own object is in the way.
            try:
                is_ours = self.read_bytes() == data
            except FileNotFoundError:
                raise exists from None
            if not is_ours:
                raise

    def upload(self, file: IO[bytes]) -> None:
        """Makes or replaces the object from an open file, in pieces if it is long."""
        with self._opened() as store:
            store.put(self.key, file)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with self._opened() as store:
                store.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def unlink_inside(self, names: Sequence[str]) -> None:
        """Removes objects below this folder, a thousand a request; one that is gone already is no error."""
        try:
            with self._opened() as store:
                ask(lambda: store.delete([f"{self.key}/{name}" for name in names]))
        except FileNotFoundError:  # of several, some stores tell of the first that was missing and stop
            for name in names:
                (self / name).unlink(missing_ok=True)

    def list_inside(self) -> Iterator[tuple[str, int, datetime]]:
        """(key below this folder, size in bytes, time of the last change) of every object, at any depth."""
        with self._opened() as store:
            for found in list_objects(store, self.key):
                name = found["path"][len(self.key) + 1 :]
                if name:  # else a marker that stands for the folder
                    yield name, found["size"], found["last_modified"]

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies directly inside, sorted."""
        names = {name.partition("/")[0] for name, _, _ in self.list_inside()}
        return (self / name for name in sorted(names))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Objects directly inside whose names match, sorted."""
        from fnmatch import fnmatchcase

        names = sorted(name for name, _, _ in self.list_inside() if "/" not in name)
        return (self / name for name in names if fnmatchcase(name, pattern))

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders are but parts of names."""

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            yield open_store(self.scheme, self.bucket)
        except (OSError, SetupError):
            raise
        except Exception as exc:
            if type(exc).__name__ == "AlreadyExistsError":
                raise FileExistsError(17, "exists", str(self)) from None
            problem = setup_problem(exc, self.scheme, self.bucket)
            if problem:
                raise SetupError(problem) from None
            raise OSError(5, describe_error(exc), str(self)) from None


@functools.cache
def require_reachable(scheme: str, bucket: str) -> None:
    """Asks once whether anybody answers, so that a wrong address costs seconds and not all the retries.

    Raises:
        SetupError: nobody does, or there are no credentials to ask with.
    """
    try:
        open_store(scheme, bucket, retries=1).head("framemill-is-anybody-there")
    except SetupError:
        raise
    except Exception as exc:
        if isinstance(exc, FileNotFoundError) or status_and_code(str(exc))[0]:
            return
        where = urlsplit(endpoint(scheme)).hostname or "its provider"
        raise SetupError(
            f"{scheme}://{bucket} cannot be reached at {where}: check the network"
            + (", AWS_ENDPOINT_URL and AWS_REGION" if scheme == "s3" else "")
        ) from None
