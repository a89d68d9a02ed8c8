"""Making a result folder, and recognising one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

from framemill.cluster.results import layout
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath, list_names
from framemill.errors import DatasetError, UsageError
from framemill.ops import OPS

FORMAT_VERSION = 1


def holds_results(root: ResultPath) -> bool:
    """Whether opening `root` finds results, or a file that is in the way and can be told of."""
    with layout.storage_errors(root, "looking for results in"):
        if not isinstance(root, RemotePath) and root.exists() and not root.is_dir():
            return True
        return layout.dataset_file(root).exists()


def _refuse_foreign(root: ResultPath) -> None:
    with layout.storage_errors(root, "looking at"):
        there = set(list_names(root)) if isinstance(root, RemotePath) or root.exists() else set()
        log = layout.commits_folder(root)
        is_ours = layout.SYSTEM_FOLDER in there and (log.is_dir() or log.exists())
        has_commits = is_ours and bool(list_names(log))
    if has_commits:
        raise UsageError(
            f"{layout.dataset_file(root)} is missing beside a commit log: "
            "restore it, or choose another output folder"
        )
    for name in (*OPS, "errors", "runs"):
        if name in there and not is_ours:
            raise UsageError(
                f"{root} was not made by framemill, and its {name} would mix with the results: "
                "choose another output folder"
            )


def make_folder(root: ResultPath, constants: Mapping[str, float]) -> None:
    """Makes a result folder, or does nothing where another run was first.

    Raises:
        UsageError: the folder holds something that is not ours, or cannot be made.
        DatasetError: the storage refuses.
    """
    _refuse_foreign(root)
    marker = layout.dataset_file(root)
    document = {"format_version": FORMAT_VERSION, "constants": dict(constants)}
    try:
        _make_log(root)
    except (PermissionError, NotADirectoryError) as exc:
        raise UsageError(
            f"the output folder {root} cannot be made ({exc.strerror}): choose another one"
        ) from exc
    except OSError:
        with layout.storage_errors(root, "making"):
            raise
    # Another run was first, and may already have removed what looked to it like a leftover.
    with layout.storage_errors(root, "making"), suppress(FileExistsError, FileNotFoundError):
        layout.write_file(marker, json.dumps(document).encode(), replace=False)


def _make_log(root: ResultPath) -> None:
    """Makes the folder of the commit log and those above, whose names survive a power cut as the log does."""
    folder = layout.commits_folder(root)
    if isinstance(folder, RemotePath) or isinstance(root, RemotePath):
        return
    made = [above for above in (root, *root.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for above in (root, *(each.parent for each in made)):
        layout.sync_folder(above)


def read_constants(marker: ResultPath) -> dict[str, float]:
    """What was fixed when the folder was made.

    Raises:
        UsageError: a newer version wrote it.
        DatasetError: it cannot be read, or is damaged.
    """
    with layout.storage_errors(marker, "reading"):
        data = marker.read_bytes()
    try:
        document = json.loads(data)
        version = int(document["format_version"])
        if version <= FORMAT_VERSION:
            return {str(name): value for name, value in document["constants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DatasetError(
            f"{marker} is damaged ({exc}): restore it, or choose another output folder"
        ) from exc
    raise UsageError(
        f"{marker.parent.parent} was written by a newer framemill (format {version}; this one knows up to "
        f"{FORMAT_VERSION}): install the newer one, or choose another output folder"
    )
