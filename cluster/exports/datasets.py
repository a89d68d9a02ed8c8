"""The formats that data sets of sampled frames are exported in.

A format is a function that writes a whole folder, and a line in `DATASETS`. The folder is made under a hidden
name and gets its own when it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from framemill.cluster.exports.annotation_tools import write_cvat, write_labelstudio
from framemill.cluster.exports.box_datasets import write_coco, write_fiftyone, write_yolo
from framemill.cluster.exports.sampled_frames import SampledFrames
from framemill.cluster.exports.training_sets import write_hf, write_webdataset
from framemill.errors import UsageError

DATASETS: Mapping[str, Callable[[SampledFrames, Path], int]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "cvat": write_cvat,
    "labelstudio": write_labelstudio,
    "fiftyone": write_fiftyone,
    "webdataset": write_webdataset,
    "hf": write_hf,
}


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
) -> tuple[list[ExportedDataset], dict[str, str]]:
    """Writes the sampled frames of all sources as one data set.

    Args:
        root: a result folder. form: key of `DATASETS`. name: as in `read_shot_lists`.
        folder: where the data set goes: a folder that is empty or not there, as data sets do not mix.
        where: a condition on the view `shots`; frames in those shots are taken. None: all frames.
        say: told of progress.

    Returns:
        What was written, nothing where no frame is left; and uri -> why pictures of it could not be had.

    Raises:
        UsageError: a table is missing, DuckDB refuses `where`, `name` is wrong, no picture could be had, or
            the folder holds something or cannot be written.
        DatasetError: a part of the results cannot be read.
    """
    if form not in DATASETS:
        raise UsageError(f"unknown format {form!r}; known: {', '.join(DATASETS)}")
    target = Path(os.path.abspath(folder))
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is not empty, and data sets do not mix: name a new folder, or empty it")
    sampled = SampledFrames(root, where, name, say)
    hidden = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        hidden.mkdir(parents=True)
        try:
            count = DATASETS[form](sampled, hidden)
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
