"""The formats that shots are exported in, and writing their files.

A format is a function from the shots of one source to the files that it makes of them, in a module of its
own, and a line in `FORMATS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from framemill.actors.object_store import is_remote
from framemill.cluster.exports.edl import write_edl
from framemill.cluster.exports.otio import write_otio
from framemill.cluster.exports.shot_lists import ShotList, read_shot_lists
from framemill.cluster.exports.shots_csv import write_shots_csv
from framemill.cluster.exports.stills import write_stills
from framemill.cluster.results.layout import write_file
from framemill.errors import DatasetError, UsageError


@dataclass(frozen=True, slots=True)
class Format:
    """How shots are written.

    Attributes:
        write: the shots of a source -> file name -> content; UsageError where the format cannot say them.
        needs: columns of the view `shots` beside those that are cheap.
    """

    write: Callable[[ShotList], Mapping[str, bytes]]
    needs: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "shots-csv": Format(write_shots_csv, ("still",)),
    "edl": Format(write_edl),
    "otio": Format(write_otio),
    "stills": Format(write_stills, ("still",)),
}


@dataclass(frozen=True, slots=True)
class ExportedShots:
    """One file that was written, and the shots of which file it holds."""

    source_id: str
    uri: str
    path: str


def export_shots(
    root: str | os.PathLike[str],
    form: str,
    folder: str | os.PathLike[str] | None,
    where: str | None = None,
    name: str = "{stem}",
) -> tuple[list[ExportedShots], dict[str, str]]:
    """Writes the shots of each source; files of the same name are replaced whole.

    Args:
        root: a result folder. form: key of `FORMATS`. where, name: as in `read_shot_lists`.
        folder: where the files go, made if it is not there; None: beside each source.

    Returns:
        What was written; and uri -> why nothing was, of sources whose shots the format cannot say.

    Raises:
        UsageError: the format can say no source's shots, a condition or name is wrong, or the folder
            cannot be written.
        SetupError: a library that the format needs is missing.
        DatasetError: a part of the results cannot be read.
    """
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    refused: dict[str, str] = {}
    made: dict[Path, tuple[ShotList, bytes]] = {}
    for listed in read_shot_lists(root, where, name, FORMATS[form].needs):
        try:
            target = _beside(listed.uri) if folder is None else Path(os.path.abspath(folder))
            files = FORMATS[form].write(listed)
        except UsageError as exc:
            refused[listed.uri] = str(exc)
            continue
        made |= {target / file: (listed, data) for file, data in files.items()}
    if refused and not made:
        raise UsageError(next(iter(refused.values())))
    for path, (_, data) in made.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data, replace=True)
        except (DatasetError, OSError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise UsageError(f"{path} cannot be written ({reason}): choose another folder") from exc
    written = [ExportedShots(listed.source_id, listed.uri, str(path)) for path, (listed, _) in made.items()]
    return written, refused


def _beside(uri: str) -> Path:
    """The folder of a source."""
    if is_remote(uri):
        raise UsageError(f"{uri} lies in an object store, and files go into folders: name one")
    folder = Path(uri).parent
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}, the folder of {Path(uri).name}, cannot be written: name another one")
    return folder
