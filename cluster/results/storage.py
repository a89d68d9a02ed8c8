"""Where results lie: a local folder, as `pathlib.Path`, or one in an object store, as `RemotePath`.

An object store has no rename, no locks and no half-written objects: an object is there, whole, or not. What
replaces the first two is told where it is needed: `layout` for parts, `remote_lease` for holding a folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from framemill.actors.remote import (
    describe,
    is_remote,
    open_store,
    parse_uri,
    require_reachable,
    setup_problem,
)
from framemill.errors import SetupError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

REQUESTS_AT_ONCE = 16


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
            with self._asking() as store:
                store.head(self.key)
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is any object inside."""
        return next(self.list_inside(), None) is not None

    def read_bytes(self) -> bytes:
        with self._asking() as store:
            return bytes(store.get(self.key).bytes())

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the object, with start < end."""
        with self._asking() as store:
            return bytes(store.get_range(self.key, start=start, end=end))

    def num_bytes(self) -> int:
        """Size of the object."""
        with self._asking() as store:
            return int(store.head(self.key)["size"])

    def write_bytes(self, data: bytes) -> None:
        """Makes or replaces the object in one step."""
        with self._asking() as store:
            store.put(self.key, data)

    def write_text(self, text: str) -> None:
        self.write_bytes(text.encode())

    def write_new(self, data: bytes) -> None:
        """Makes the object if there is none, by a conditional put.

        Raises:
            FileExistsError: there is one with other bytes, or there was one that is gone already.
        """
        try:
            with self._asking() as store:
                store.put(self.key, data, mode="create")
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
        with self._asking() as store:
            store.put(self.key, file)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with self._asking() as store:
                store.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def unlink_inside(self, names: Sequence[str]) -> None:
        """Removes objects below this folder, a thousand a request; one that is gone already is no error."""
        try:
            with self._asking() as store:
                store.delete([f"{self.key}/{name}" for name in names])
        except FileNotFoundError:  # of several, some stores tell of the first that was missing and stop
            for name in names:
                (self / name).unlink(missing_ok=True)

    def list_inside(self) -> Iterator[tuple[str, int, datetime]]:
        """(key below this folder, size in bytes, time of the last change) of every object, at any depth."""
        with self._asking() as store:
            for chunk in store.list(prefix=self.key):
                for told in chunk:
                    name = told["path"][len(self.key) + 1 :]
                    if name:  # else a marker that stands for the folder
                        yield name, told["size"], told["last_modified"]

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
    def _asking(self) -> Iterator[Any]:
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
            raise OSError(5, describe(exc), str(self)) from None


ResultPath: TypeAlias = Path | RemotePath


def open_root(root: str | os.PathLike[str] | RemotePath) -> ResultPath:
    """The result folder that a person names, once it is known that its storage answers.

    Raises:
        UsageError: an address that cannot hold results, or with credentials in it.
        SetupError: the store does not answer, or there are no credentials.
    """
    path = name_root(root)
    if isinstance(path, RemotePath) and not isinstance(root, RemotePath):
        require_reachable(path.scheme, path.bucket)
    return path


def name_root(root: str | os.PathLike[str] | RemotePath) -> ResultPath:
    """The same without asking anybody; a relative path counts from the current folder.

    Raises:
        UsageError: an address that cannot hold results, or with credentials in it.
    """
    if isinstance(root, RemotePath):
        return root
    text = os.fspath(root)
    if not is_remote(text):
        return Path(os.path.abspath(text))
    address = parse_uri(text)
    key = "/".join(part for part in address.key.split("/") if part not in ("", "."))
    if not key or ".." in key.split("/"):
        raise UsageError(f"results cannot lie in {text}: name a folder in the bucket, such as {text}/out")
    return RemotePath(address.scheme, address.bucket, key)


def remove_tree(folder: ResultPath) -> None:
    """Removes a folder with all in it as far as that works; what stays is swept up by a later run."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        unlink_all(folder, [name for name, _, _ in folder.list_inside()])
    except OSError:
        return


def unlink_all(folder: ResultPath, names: Sequence[str]) -> None:
    """Removes files by their paths below a folder; those that are gone already are no error."""
    if isinstance(folder, Path):
        for name in names:
            (folder / name).unlink(missing_ok=True)
    elif names:
        folder.unlink_inside(names)


def list_names(folder: ResultPath) -> list[str]:
    """Names of what lies directly in a folder; an empty list in an object store where there is none."""
    if isinstance(folder, Path):
        return os.listdir(folder)
    return [path.name for path in folder.iterdir()]


def read_files(paths: Sequence[ResultPath]) -> list[bytes]:
    """Their bytes; from an object store several at once, for each takes the time of a request."""
    if len(paths) < 2 or isinstance(paths[0], Path):
        return [path.read_bytes() for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(lambda path: path.read_bytes(), paths))


@contextmanager
def uploading(path: RemotePath) -> Iterator[IO[bytes]]:
    """A file to write into, which becomes the object at the end; nothing does when an error comes first."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        path.upload(file)


def readable(path: ResultPath) -> Any:
    """What pyarrow reads a file from: its name, or the whole object in memory."""
    if isinstance(path, Path):
        return path
    import pyarrow as pa

    return pa.BufferReader(path.read_bytes())


def file_system(root: ResultPath) -> Any:
    """The pyarrow file system on which `arrow_path` names files; None for the local one."""
    if isinstance(root, Path):
        return None
    from framemill.cluster.results.remote_tables import object_file_system

    return object_file_system(root)


def arrow_path(path: ResultPath) -> str:
    """The name of a file on `file_system`."""
    return str(path) if isinstance(path, Path) else path.key
