"""Sampled frames of all sources as one data set.

The folder is made under a hidden name and gets its own when it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framemill.cluster.exports.catalogue import format_named
from framemill.cluster.exports.sampled_frames import SampledFrames
from framemill.errors import UsageError


@dataclass(frozen=True, slots=True)
class ExportedDataset:
    """A folder that was written, and how many frames it holds."""

    path: str
    num_frames: int


def export_dataset(
    root: str | os.PathLike[str],
    form: str,
    folder: str | os.PathLike[str],
    where: str | None = None,
    name: str = "{stem}",
    say: Callable[[str], None] = lambda text: None,
    every: float = 0.0,
) -> tuple[list[ExportedDataset], dict[str, str]]:
    """Writes the sampled frames of all sources as one data set.

    Args:
        root: a result folder. form: a name in `FORMATS`. name: as in `stems_of`.
        folder: where the data set goes: a folder that is empty or not there, as data sets do not mix.
        where: a condition on the view `shots`; frames in those shots are taken. None: all frames.
        say: told of progress. every: of the frames in so many seconds the first is taken; 0 for all.

    Returns:
        What was written, nothing where no frame is left; and uri -> why pictures of it could not be had.

    Raises:
        UsageError: a table is missing, DuckDB refuses `where`, `name` is wrong, no picture could be had, or
            the folder holds something or cannot be written.
        DatasetError: a part of the results cannot be read.
    """
    write = format_named(form, "frames").load()
    target = Path(os.path.abspath(folder))
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is not empty, and data sets do not mix: name a new folder, or empty it")
    sampled = SampledFrames(root, where, name, say, every)
    hidden = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        hidden.mkdir(parents=True)
        try:
            count = write(sampled, hidden)
            problems = {uri: f"{uri} {problem}" for uri, problem in sampled.problems.items()}
            if problems and not count:
                raise UsageError(next(iter(problems.values())))
            if not count:
                return [], problems
            os.replace(hidden, target)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    except OSError as exc:
        raise UsageError(f"{target} cannot be written ({exc.strerror}): choose another folder") from exc
    return [ExportedDataset(str(target), count)], problems
