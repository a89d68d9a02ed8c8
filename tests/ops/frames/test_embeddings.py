from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from framemill.errors import ModelError
from framemill.models.entry import ModelEntry
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.frames.embeddings import ImageEmbeddings
from tests.ops.frames.embedding_stand_ins import ImageRunner
from tests.ops.frames.towers import image_tower
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

COLOURS = np.array([[200, 30, 60], [10, 90, 250], [0, 0, 0]], np.uint8)
KNOWN = {
    "clip": "clip_vit_b32",
    "siglip": "siglip_base",
    "dinov2": "dinov2_small",
    "dinov3": "dinov3_vits16",
}


def frames() -> ArrayFrames:
    return ArrayFrames(np.ascontiguousarray(np.broadcast_to(COLOURS[:, None, None], (3, 60, 100, 3))))


def vectors(op: ImageEmbeddings) -> npt.NDArray[np.float32]:
    rows = op.run(frames(), {})
    assert rows.schema.equals(op.schema) and rows["frame_index"].to_pylist() == [0, 1, 2]
    return np.array(rows["vector"].to_pylist(), np.float32)


def opened(entry: ModelEntry, folder: Path, family: str) -> Model:
    """A tower of the family; what else its folder is to hold is there, and has no part in it."""
    path = image_tower(folder / "model.onnx", family)
    for name in {file.name for file in entry.files} - {path.name}:
        (folder / name).write_bytes(bytes(16))
    model, _ = open_model(entry, folder if entry.files else path, 1, "cpu")
    return model


@pytest.mark.parametrize("family", KNOWN)
def test_towers_get_pictures_as_they_were_trained_on(family: str, tmp_path: Path) -> None:
    entry = resolve("image_embeddings", KNOWN[family])
    assert entry.family == family
    model = opened(entry, tmp_path, family)
    found = vectors(ImageEmbeddings(ImageEmbeddings.Options(), {"image_embeddings": model}))
    means = {
        "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        "siglip": ([0.5] * 3, [0.5] * 3),
        **dict.fromkeys(("dinov2", "dinov3"), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
    }
    mean, deviation = means[family]
    expected = (COLOURS / 255 - mean) / deviation
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "marked"), [("clip", (98, 302)), ("siglip", (0, 400)), ("dinov3", (0, 400))]
)
def test_clip_sees_the_middle_and_others_all(family: str, marked: tuple[int, int], tmp_path: Path) -> None:
    """A frame twice as wide as high, white where the family looks."""
    pixels = np.zeros((1, 200, 400, 3), np.uint8)
    pixels[:, :, slice(*marked)] = 255
    entry = resolve("image_embeddings", KNOWN[family])
    model = opened(entry, tmp_path, family)
    op = ImageEmbeddings(ImageEmbeddings.Options(), {"image_embeddings": model})
    white = ArrayFrames(np.full_like(pixels, 255))
    np.testing.assert_allclose(op.embed(ArrayFrames(pixels)), op.embed(white), atol=1e-5)


def test_mobilenet_gets_bytes() -> None:
    op = ImageEmbeddings(
        ImageEmbeddings.Options(), {"image_embeddings": Model(SMALL["image_embeddings"], ImageRunner())}
    )
    found = vectors(op)
    expected = COLOURS / np.maximum(np.linalg.norm(COLOURS.astype(float), axis=1, keepdims=True), 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("change", [{"family": "arcface"}, {"input_size": None}])
def test_models_of_another_kind_are_refused(change: dict[str, Any]) -> None:
    entry = replace(SMALL["image_embeddings"], **change)
    with pytest.raises(ModelError, match="add one of mobilenet_embed, clip, siglip, dinov2"):
        ImageEmbeddings(ImageEmbeddings.Options(), {"image_embeddings": Model(entry, ImageRunner())})


def test_other_outputs_are_refused_by_name(tmp_path: Path) -> None:
    # A vision model exported without its projection.
    entry = resolve("image_embeddings", "clip_vit_b32")
    model, _ = open_model(entry, image_tower(tmp_path / "tower.onnx", "dinov2"), 1, "cpu")
    op = ImageEmbeddings(ImageEmbeddings.Options(), {"image_embeddings": model})
    with pytest.raises(
        ModelError, match=r"gives \{'last_hidden_state': \[3, 2, 3\]\}.*image_embeds \[3, numb"
    ):
        op.run(frames(), {})
