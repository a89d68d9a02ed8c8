"""Where results lie: a local folder, as `pathlib.Path`, or one in an object store, as `RemotePath`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from framemill.actors.object_store import is_remote, parse_uri
from framemill.cluster.results.remote_path import RemotePath, require_reachable
from framemill.errors import UsageError

if TYPE_CHECKING:
    pass

REQUESTS_AT_ONCE = 16


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


def read_files(paths: Sequence[ResultPath]) -> Iterator[bytes]:
    """Their bytes in this order, a few at a time: from an object store each takes the time of a request."""
    if len(paths) < 2 or isinstance(paths[0], Path):
        yield from (path.read_bytes() for path in paths)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for start in range(0, len(paths), 2 * REQUESTS_AT_ONCE):
            some = paths[start : start + 2 * REQUESTS_AT_ONCE]
            yield from pool.map(lambda path: path.read_bytes(), some)


def read_lines(path: ResultPath) -> Iterator[bytes]:
    """The lines of a file, one at a time."""
    if isinstance(path, RemotePath):
        yield from path.read_lines()
        return
    with open(path, "rb") as file:
        yield from file


@contextmanager
def uploading(
    path: RemotePath, fence: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[IO[bytes]]:
    """A file to write into, which becomes the object at the end; nothing does when an error comes first.

    Args:
        fence: entered around that end.
    """
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        with fence():
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
