"""Shots as files, source by source."""

from __future__ import annotations

import os
from pathlib import Path

from framemill.cluster.exports.catalogue import format_named
from framemill.cluster.exports.naming import Exported, folder_beside
from framemill.cluster.exports.shot_lists import read_shot_lists
from framemill.cluster.exports.stretches import SHOTS
from framemill.cluster.results.layout import write_file
from framemill.errors import DatasetError, UsageError


def export_shots(
    root: str | os.PathLike[str],
    form: str,
    folder: str | os.PathLike[str] | None,
    where: str | None = None,
    name: str = "{stem}",
    of: str = SHOTS,
) -> tuple[list[Exported], dict[str, str]]:
    """Writes the shots of each source; files of the same name are replaced whole.

    Args:
        root: a result folder. form: a name in `FORMATS`. where, name, of: as in `read_shot_lists`.
        folder: where the files go, made if it is not there; None: beside each source.

    Returns:
        What was written; and uri -> why nothing was, of sources whose shots the format cannot say.

    Raises:
        UsageError: the format can say no source's shots, a condition, query or name is wrong, or the folder
            cannot be written.
        SetupError: a library that the format needs is missing.
        DatasetError: a part of the results cannot be read.
    """
    made_by = format_named(form, "shots")
    write = made_by.load()
    refused: dict[str, str] = {}
    written: list[Exported] = []
    for listed in read_shot_lists(root, where, name, made_by.needs, folder is None, of):
        try:
            target = folder_beside(listed.uri) if folder is None else Path(os.path.abspath(folder))
            files = write(listed)
        except UsageError as exc:
            refused[listed.uri] = str(exc)
            continue
        for file, data in files.items():
            _write(target / file, data)
            written.append(Exported(listed.source_id, listed.uri, str(target / file), tuple(listed.notes)))
    if refused and not written:
        raise UsageError(next(iter(refused.values())))
    return written, refused


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, replace=True)
    except (DatasetError, OSError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{path} cannot be written ({reason}): choose another folder") from exc
