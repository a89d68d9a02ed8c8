"""Operations that take frames of a device give the rows of the host, and copy nothing on their way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.actors.dali_frames import DaliFrames
from framemill.models.arrays import to_host
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops import OPS, load_op
from framemill.ops.operation import Reads
from tests.actors.clips import decode_all
from tests.ops.faces.test_faces import HEAD_POSE
from tests.ops.frames.embedding_stand_ins import EMBEDDING_ENTRIES, EMBEDDING_STAND_INS
from tests.small_models import SMALL

strict = pytest.importorskip("array_api_strict")
ON_DEVICE = [name for name in OPS if load_op(name).on_device]
WITH_MODELS = [name for name in ON_DEVICE if load_op(name).models]
# Their weights are too large to be at hand: stand-ins answer for them.
STOOD_FOR = ["depth", "open_vocabulary"]


class Boundary:
    """Brings inputs to the host where a session would, and notes what they were."""

    def __init__(self, runner: Any) -> None:
        self.max_batch = 2
        self.seen: set[str] = set()
        self._runner = runner

    def run(self, inputs: Mapping[str, Any]) -> Any:
        return self._runner.run(self._brought(inputs))

    def run_whole(self, inputs: Mapping[str, Any]) -> Any:
        return self._runner.run_whole(self._brought(inputs))

    def _brought(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.seen |= {type(array).__module__.partition(".")[0] for array in inputs.values()}
        return {name: to_host(array) for name, array in inputs.items()}


def test_only_operations_on_frames_take_them() -> None:
    named = ["objects", "faces", "labels", "image_embeddings", "moderation"]
    assert [*named, *STOOD_FOR] == WITH_MODELS
    # See `test_device_measures`.
    assert set(ON_DEVICE) - set(WITH_MODELS) == {"frames", "quality", "preview"}
    assert all(load_op(name).reads is Reads.FRAMES for name in ON_DEVICE)


@pytest.mark.media
@pytest.mark.parametrize("name", WITH_MODELS)
def test_rows_are_those_of_the_host(name: str, media_dir: Path, models_dir: Path) -> None:
    """The stand-in for a device refuses whatever is not in the array API standard."""
    clip = media_dir / (HEAD_POSE if name == "faces" else "video/car-detection.mp4")
    decoded = decode_all(clip, 0)
    shown = [decoded[len(decoded) * part // 4] for part in (1, 2, 3)]
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    height, width = pixels.shape[1:3]
    kind = load_op(name)
    (role,) = kind.models
    if name in STOOD_FOR:
        runner = Model(EMBEDDING_ENTRIES[role], EMBEDDING_STAND_INS[role]())
    else:
        runner = open_model(SMALL[role], models_dir / SMALL[role].file_name, 1, "cpu")[0]
    rows = []
    for array, module in ((pixels, "numpy"), (strict.asarray(pixels), "array_api_strict")):
        boundary = Boundary(runner.runner)
        op = kind(kind.Options(), {role: Model(runner.entry, boundary)})
        frames = DaliFrames(
            array, np.arange(3), np.arange(3) / 25, np.ones(3, bool), (width, height), 0, "bt709"
        )
        rows.append(op.run(frames, {}).to_pylist())
        # Words as tokens are the host's.
        assert boundary.seen == {module, "numpy"} if name == "open_vocabulary" else boundary.seen == {module}
    assert rows[0] and rows[1] == rows[0]
