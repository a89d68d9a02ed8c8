"""What the comparisons look at and listen to, read as operations get it, and models in our sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.harness import Setting, SkippedError
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.models.store import locate
from framemill.ops.chunks import Float32Array, Frames

RATE = 16_000


def present(folder: Path, *names: str) -> list[Path]:
    """These files of the folder.

    Raises:
        SkippedError: one of them is not there.
    """
    paths = [folder / name for name in names]
    if absent := [path.name for path in paths if not path.exists()]:
        raise SkippedError(f"{', '.join(absent)} not at hand")
    return paths


def operation(kind: type[Any], setting: Setting, names: Mapping[str, str], **options: Any) -> Any:
    """An operation with the models of these names by role, and the defaults of the other roles.

    Raises:
        SkippedError: a model is neither in the folder of weights nor in an installed package.
    """
    loaded = {role: model_of(role, names.get(role, ""), setting) for role in kind.models}
    return kind(kind.Options(**options), loaded)


def model_of(role: str, name: str, setting: Setting) -> Model:
    """A model in a session of ours: for operations, and for references that do all but the network.

    Raises:
        SkippedError: as `operation` does.
    """
    entry = resolve(role, name)
    if entry.package_file:
        path = locate(entry)
        if path is None:
            raise SkippedError(f"the package that holds {entry.name} is not installed")
    else:
        (path,) = present(setting.models, entry.file_name)
    return open_model(entry, path, setting.cores, "cpu")[0]


def frames_of(path: Path, step: int) -> Iterator[Frames]:
    """Every step-th frame of a file, as the reader gives them to operations."""
    index = index_source(str(path))
    request = ReadRequest(
        frames=np.arange(0, len(index.frames), step, dtype=np.int64),
        signals=np.zeros(0, np.int64),
        with_sound=False,
        threads=1,
    )
    for chunk in read_shard(str(path), index, request, ReadReport()):
        assert isinstance(chunk, Frames)
        yield chunk


def samples_of(path: Path) -> Float32Array:
    """The sound of a file, float32 [n], mono at 16 kHz."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
