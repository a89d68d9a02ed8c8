"""Where things lie in a result folder, and how bytes get there so that a crash leaves nothing torn."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import DatasetError

SYSTEM_FOLDER = "_framemill"

# A hidden part must end in something else than .parquet: DuckDB 2.0 matches dot files with `*.parquet`
# (measured), pyarrow does not.
HIDDEN_SUFFIX = ".new"


def dataset_file(root: Path) -> Path:
    """The file that makes a folder a dataset: format version and constants."""
    return root / SYSTEM_FOLDER / "dataset.json"


def commits_folder(root: Path) -> Path:
    """Holds the commit log."""
    return root / SYSTEM_FOLDER / "commits"


def commit_file(root: Path, sequence: int) -> Path:
    """One commit. The name is the sequence alone, so that the same one can never be given out twice."""
    return commits_folder(root) / f"{sequence:010d}.json"


def checkpoint_file(root: Path, sequence: int) -> Path:
    """The folded state after commit `sequence`; it replaces all files up to there."""
    return commits_folder(root) / f"{sequence:010d}.checkpoint.json"


def visible_path(root: Path, table: str, name: str) -> Path:
    """A published part."""
    return root / table / name


def hidden_path(root: Path, table: str, name: str) -> Path:
    """A part before its commit: no glob over `*.parquet` matches it."""
    return root / table / f".{name}{HIDDEN_SUFFIX}"


def live_path(root: Path, table: str, name: str) -> Path:
    """Where a committed part lies now: it stays hidden for a moment between commit and publication."""
    path = visible_path(root, table, name)
    if path.exists():
        return path
    hidden = hidden_path(root, table, name)
    return hidden if hidden.exists() else path


def partials_folder(root: Path, source_id: str) -> Path:
    """Where the shards of one long source leave what they have until it is merged."""
    return root / SYSTEM_FOLDER / "partials" / source_id


def list_parts(root: Path) -> Iterator[tuple[str, str, bool]]:
    """(table, part name, whether hidden) of every file under `root` that is named like a part of ours."""
    for folder in sorted(root.iterdir()):
        if folder.name == SYSTEM_FOLDER or not folder.is_dir():
            continue
        for name in sorted(os.listdir(folder)):
            if name.startswith("part-") and name.endswith(".parquet"):
                yield folder.name, name, False
            elif name.startswith(".part-") and name.endswith(".parquet" + HIDDEN_SUFFIX):
                yield folder.name, name[1 : -len(HIDDEN_SUFFIX)], True


@contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
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


def stage_file(path: Path, data: bytes) -> Path:
    """Writes `data` beside `path` under a temporary name (.<name>.<pid>.tmp), synced; returns that name."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(staged, "wb") as file:
            file.write(data)
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


def write_file(path: Path, data: bytes, *, replace: bool) -> None:
    """`stage_file` and `place_file` in one."""
    place_file(stage_file(path, data), path, replace=replace)
