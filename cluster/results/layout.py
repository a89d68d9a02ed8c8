"""Where things lie in a result folder, and how bytes get there so that a crash leaves nothing torn."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath, uploading
from framemill.errors import DatasetError, LeaseError

SYSTEM_FOLDER = "_framemill"

# A hidden part must end in something else than .parquet: DuckDB 2.0 matches dot files with `*.parquet`
# (measured), pyarrow does not.
HIDDEN_SUFFIX = ".new"


def dataset_file(root: ResultPath) -> ResultPath:
    """The file that makes a folder a dataset: format version and constants."""
    return root / SYSTEM_FOLDER / "dataset.json"


def commits_folder(root: ResultPath) -> ResultPath:
    """Holds the commit log."""
    return root / SYSTEM_FOLDER / "commits"


def commit_file(root: ResultPath, sequence: int) -> ResultPath:
    """One commit. The name is the sequence alone, so that the same one can never be given out twice."""
    return commits_folder(root) / f"{sequence:010d}.json"


def checkpoint_file(root: ResultPath, sequence: int) -> ResultPath:
    """The folded state after commit `sequence`; it replaces all files up to there."""
    return commits_folder(root) / f"{sequence:010d}.checkpoint.json"


def visible_path(root: ResultPath, table: str, name: str) -> ResultPath:
    """A published part."""
    return root / table / name


def hidden_path(root: ResultPath, table: str, name: str) -> ResultPath:
    """A part before its commit: no glob over `*.parquet` matches it.

    An object cannot be renamed. There a part has its last name from the start, and a glob may see rows that
    are not committed yet, or of a run that was killed; who reads through the commit log never does.
    """
    if isinstance(root, RemotePath):
        return visible_path(root, table, name)
    return root / table / f".{name}{HIDDEN_SUFFIX}"


def live_path(root: ResultPath, table: str, name: str) -> ResultPath:
    """Where a committed part lies now: it stays hidden for a moment between commit and publication."""
    path = visible_path(root, table, name)
    if isinstance(root, RemotePath) or path.exists():
        return path
    hidden = hidden_path(root, table, name)
    return hidden if hidden.exists() else path


def live_files(root: ResultPath, table: str, names: Sequence[str]) -> list[str]:
    """The same of many parts of one table, as pyarrow names them, with one look at the folder."""
    if isinstance(root, RemotePath):
        return [(root / table / name).key for name in names]
    folder = str(root / table)
    there = set(os.listdir(folder)) if names and os.path.isdir(folder) else set()
    return [
        os.path.join(folder, name if name in there or hidden not in there else hidden)
        for name in names
        for hidden in [f".{name}{HIDDEN_SUFFIX}"]
    ]


def partials_folder(root: ResultPath, source_id: str) -> ResultPath:
    """Where the shards of one long source leave what they have until it is merged."""
    return root / SYSTEM_FOLDER / "partials" / source_id


def list_parts(root: ResultPath) -> Iterator[tuple[str, str, bool]]:
    """(table, part name, whether hidden) of every file under `root` that is named like a part of ours."""
    if isinstance(root, RemotePath):
        for inside, _, _ in root.list_inside():
            table, _, name = inside.partition("/")
            if table != SYSTEM_FOLDER and name.startswith("part-") and name.endswith(".parquet"):
                yield table, name, False
        return
    for folder in sorted(root.iterdir()):
        if folder.name == SYSTEM_FOLDER or not folder.is_dir():
            continue
        for name in sorted(os.listdir(folder)):
            if name.startswith("part-") and name.endswith(".parquet"):
                yield folder.name, name, False
            elif name.startswith(".part-") and name.endswith(".parquet" + HIDDEN_SUFFIX):
                yield folder.name, name[1 : -len(HIDDEN_SUFFIX)], True


@contextmanager
def storage_errors(path: ResultPath, doing: str) -> Iterator[None]:
    """Turns what the operating system says into a DatasetError that names the path and the remedy."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DatasetError(
                f"no space left while {doing} {path}: free some space and run the same command again; "
                "everything committed so far stays valid"
            ) from exc
        raise DatasetError(
            f"failed while {doing} {path}: {exc.strerror or exc}; check that the folder is writable and its "
            "storage healthy, then run the same command again; everything committed so far stays valid"
        ) from exc


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stage_file(path: Path, data: bytes | Iterable[bytes]) -> Path:
    """Writes `data` beside `path` under a temporary name (.<name>.<pid>.tmp), synced; returns that name.

    Args:
        data: the bytes, or pieces of them in order.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(staged, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.unlink(staged)
        raise
    return staged


def place_file(staged: Path, path: Path, *, replace: bool) -> None:
    """Gives a staged file its name in one step.

    Raises:
        FileExistsError: `path` exists and `replace` is False; the staged file is gone then.
    """
    if replace:
        os.replace(staged, path)
    else:
        try:
            os.link(staged, path)
        except OSError as exc:
            # Some file systems have no hard links. There the lease alone keeps two writers apart.
            if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                os.unlink(staged)
                raise
            if path.exists():
                os.unlink(staged)
                raise FileExistsError(errno.EEXIST, "exists", str(path)) from exc
            os.rename(staged, path)
        else:
            os.unlink(staged)
    sync_folder(path.parent)


def write_file(
    path: ResultPath,
    data: bytes,
    *,
    replace: bool,
    fence: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Gives a file its bytes in one step, which happens wholly or not at all.

    Args:
        fence: entered around that step; nothing is written if it raises then.

    Raises:
        FileExistsError: `path` exists and `replace` is False.
    """
    if isinstance(path, RemotePath):
        with fence():
            if replace:
                path.write_bytes(data)
            else:
                path.write_new(data)
        return
    staged = stage_file(path, data)
    with _removed_on_refusal(staged), fence():
        place_file(staged, path, replace=replace)


def write_lines(
    path: ResultPath, lines: Iterable[bytes], fence: Callable[[], AbstractContextManager[None]]
) -> None:
    """As `write_file` with `replace`, without ever having all of it in memory."""
    if isinstance(path, RemotePath):
        with uploading(path, fence) as file:
            file.writelines(lines)
        return
    staged = stage_file(path, lines)
    with _removed_on_refusal(staged), fence():
        place_file(staged, path, replace=True)


@contextmanager
def _removed_on_refusal(staged: Path) -> Iterator[None]:
    try:
        yield
    except LeaseError:
        staged.unlink(missing_ok=True)
        raise


@contextmanager
def new_file(path: ResultPath) -> Iterator[IO[bytes]]:
    """A file to write into, whole and synced when the block ends; nothing stays of one that failed."""
    if isinstance(path, RemotePath):
        with uploading(path) as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    # The folder may be as new as the file, and a commit must not outlive either.
    sync_folder(path.parent)
    sync_folder(path.parent.parent)
