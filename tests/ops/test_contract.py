"""What every operation owes, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pytest

from framemill.actors.audio_probe import reads_subtitles
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.ops import OPS, load_op
from framemill.testing import CHECKS, ArrayFrames, Case, make_operation
from tests.ops.audio.sound_stand_ins import SOUND_STAND_INS, PannsStandIn
from tests.ops.audio.speech_stand_ins import SPEECH_STAND_INS
from tests.ops.faces.face_stand_ins import FACE_STAND_INS
from tests.ops.frames.embedding_stand_ins import EMBEDDING_ENTRIES, EMBEDDING_STAND_INS, DinoRunner
from tests.ops.objects.pose_stand_ins import POSE_STAND_INS, RtmoRunner, RtmposeRunner
from tests.ops.text.text_stand_ins import TEXT_ENTRIES, TEXT_STAND_INS
from tests.small_models import SMALL


class YoloxRunner:
    """Answers as a detector that sees one thing in the middle, by the mean a person or a bicycle."""

    max_batch = 8

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (3, 416, 416)
        raw = np.zeros((len(pictures), 3549, 85), np.float32)
        raw[:, 1000, 2:4] = 2.0
        raw[:, 1000, 4] = 0.9
        classes = pictures.mean(axis=(1, 2, 3)).astype(int) % 2
        raw[np.arange(len(pictures)), 1000, 5 + classes] = 0.8
        return {"output": raw}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class LoudnessRunner:
    """Answers as a voice detector that takes loud for speech."""

    max_batch = 1

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("a recurrent model must not be batched")

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        peaks = np.abs(inputs["input"]).max(axis=1)
        return {"speech_probs": np.clip(peaks, 0, 1), "hn": inputs["h"], "cn": inputs["c"]}


STAND_INS: dict[str, Callable[[], Any]] = {
    "objects": YoloxRunner,
    "vad": LoudnessRunner,
    **EMBEDDING_STAND_INS,
    **FACE_STAND_INS,
    **POSE_STAND_INS,
    **TEXT_STAND_INS,
    **SPEECH_STAND_INS,
    **SOUND_STAND_INS,
}


ENTRIES = {**SMALL, **TEXT_ENTRIES, **EMBEDDING_ENTRIES}


class StandIns(dict[str, Model]):
    """Role -> a model that is opened when it is first asked for."""

    def __missing__(self, role: str) -> Model:
        if role not in STAND_INS:
            raise KeyError(role)
        self[role] = Model(ENTRIES[role], STAND_INS[role]())
        return self[role]


# Operations with models of further families: operation, role, the model's name, what answers in its place.
FURTHER: tuple[tuple[str, str, str, Callable[[], Any]], ...] = (
    ("poses", "poses", "rtmpose_m", RtmposeRunner),
    ("poses", "poses", "rtmo_s", RtmoRunner),
    ("sounds", "sounds", "panns_cnn14_16k", PannsStandIn),
    ("audio_embeddings", "sounds", "panns_cnn14_16k", PannsStandIn),
    ("image_embeddings", "image_embeddings", "dinov3_vits16", DinoRunner),
)


@pytest.fixture(
    params=[*sorted(OPS), *FURTHER], ids=lambda it: it if isinstance(it, str) else f"{it[0]}-{it[2]}"
)
def case(request: pytest.FixtureRequest) -> Case:
    models = StandIns()
    name = request.param
    if not isinstance(name, str):
        name, role, model, runner = request.param
        models[role] = Model(resolve(role, model), runner())
    return Case(make_operation(load_op(name), None, models), models)


def test_a_frame_seen_whole_gives_poses_to_the_people_that_objects_found() -> None:
    """The contract holds of empty tables too; these are not."""
    models = StandIns()
    models["poses"] = Model(resolve("poses", "rtmo_s"), RtmoRunner())
    objects, poses = (make_operation(load_op(name), None, models) for name in ("objects", "poses"))
    shades = np.array([40, 41, 42, 43], np.uint8)[:, None, None, None]
    frames = ArrayFrames(np.ascontiguousarray(np.broadcast_to(shades, (4, 240, 320, 3))))
    people = objects.run(frames, {})
    table = poses.run(frames, {"objects": people})
    assert 0 < table.num_rows == people.filter(pc.equal(people["label"], "person")).num_rows
    assert set(table["object_index"].to_pylist()) == {0}


def test_name_is_its_key(case: Case) -> None:
    assert OPS[case.op.name].endswith(f":{type(case.op).__name__}")
    assert case.op.version >= 1


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_operation_keeps_the_contract(case: Case, check: Callable[[Case], None]) -> None:
    check(case)


def test_what_an_operation_is_fed_is_known_before_its_models_are(case: Case) -> None:
    name, kind = case.op.name, type(case.op)
    assert kind.takes_under(case.op.options) == case.op.takes()
    # Asked of every run before anything is loaded.
    assert reads_subtitles({name: {}}) is (name == "transcript")
