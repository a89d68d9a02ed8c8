"""Single files that commands write where they are told to: a page, a sheet, a timeline, a film."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from framemill.cluster.results.layout import write_file
from framemill.errors import DatasetError, UsageError


def check_path(path: str, endings: Collection[str], what: str) -> Path:
    """The path of a file to be written, whole; refused before any work is done for it.

    Args:
        endings: that it may have, each with its dot, in small letters. what: the file is, as in "the report".

    Raises:
        UsageError: it has none of the endings, or there is no such folder.
    """
    target = Path(os.path.abspath(path))
    if target.suffix.lower() not in endings:
        raise UsageError(f"{what} {path} must end in {', '.join(endings)}")
    if not target.parent.is_dir():
        raise UsageError(f"the folder of {path} is not there: make it first")
    return target


def write_whole(target: Path, data: bytes, what: str) -> None:
    """Writes a file in one step; what is there is replaced.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_file(target, data, replace=True)
    except (DatasetError, OSError) as exc:
        raise UsageError(f"{what} {target} cannot be written: {exc}") from exc
