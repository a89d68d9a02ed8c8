"""Moderation: a tiny network of open_nsfw's contract with known answers, and the authors' own steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from framemill.errors import ModelError
from framemill.models.adding import add
from framemill.models.entry import ModelEntry
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.ops.frames.moderation import Moderation
from tests.actors.clips import decode_all
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

ENTRY = SMALL["moderation"]
CLIPS = ("video/car-detection.mp4", "video/dog_eating_854132.mp4", "video/one-by-one-person-detection.mp4")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


def network(path: Path, shape: list[Any], outputs: int = 2, last: str = "Softmax") -> Path:
    """Logits 0 for safe and, for unsafe, a hundredth of what comes in as the third channel, on average."""
    nodes = [
        helper.make_node("ReduceMean", ["given", "sides"], ["colour"], keepdims=0),
        helper.make_node("Gemm", ["colour", "weights"], ["logits"]),
        helper.make_node(last, ["logits"], ["told"]),
    ]
    weights = np.zeros((3, outputs), np.float32)
    weights[2, 1] = 0.01
    sides = [1, 2] if shape[3] == 3 else [2, 3]
    given = {"sides": np.array(sides), "weights": weights}
    graph = helper.make_graph(
        nodes,
        "unsafe",
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("told", TensorProto.FLOAT, [shape[0], outputs])],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def opened(entry: ModelEntry, path: Path) -> Moderation:
    model, _ = open_model(entry, path, 1, "cpu")
    return Moderation(Moderation.Options(), {"moderation": model})


def frames(*reds: int) -> ArrayFrames:
    pixels = np.zeros((len(reds), 40, 60, 3), np.uint8)
    pixels[..., 0] = np.array(reds)[:, None, None]
    return ArrayFrames(pixels)


def test_a_frame_has_the_probability_of_the_second_class(tmp_path: Path) -> None:
    """Red is the last of the channels, and comes in less its mean of 123."""
    entry = replace(ENTRY, input_size=(8, 8))
    rows = opened(entry, network(tmp_path / "m.onnx", ["n", 8, 8, 3])).run(frames(123, 255, 0), {})
    assert rows.schema.equals(Moderation.schema, check_metadata=True)
    assert rows["frame_index"].to_pylist() == [0, 1, 2]
    expected = 1 / (1 + np.exp([0, -1.32, 1.23]))
    np.testing.assert_allclose(rows["unsafe"].to_numpy(), expected, atol=1e-5)


def test_only_the_middle_of_a_frame_counts(tmp_path: Path) -> None:
    """16 of 256 rows and columns are cut off at each side, whatever the shape of the frame."""
    entry = replace(ENTRY, input_size=(224, 224))
    op = opened(entry, network(tmp_path / "m.onnx", ["n", 224, 224, 3]))
    framed = np.full((1, 256, 512, 3), 123, np.uint8)
    framed[:, :15] = framed[:, -15:] = framed[:, :, :30] = framed[:, :, -30:] = 255
    np.testing.assert_allclose(op.run(ArrayFrames(framed), {})["unsafe"].to_numpy(), 0.5, atol=1e-5)
    framed[:, :40] = 255
    assert op.run(ArrayFrames(framed), {})["unsafe"][0].as_py() > 0.52


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    entry = replace(ENTRY, input_size=(8, 8))
    raw = network(tmp_path / "raw.onnx", ["n", 8, 8, 3], last="Identity")
    with pytest.raises(ModelError, match=r"sums to .* export it with its softmax"):
        opened(entry, raw).run(frames(9), {})
    wide = network(tmp_path / "wide.onnx", ["n", 8, 8, 3], outputs=5)
    with pytest.raises(ModelError, match=r"gives \{'told': \[1, 5\]\} .* one output \[1, 2\]"):
        opened(entry, wide).run(frames(9), {})
    with pytest.raises(ModelError, match=r"of family 'nima' .* add one of open_nsfw"):
        opened(replace(entry, family="nima"), raw)


def test_a_file_of_another_contract_is_refused_when_it_is_added(tmp_path: Path) -> None:
    wide = network(tmp_path / "wide.onnx", ["n", 8, 8, 3], outputs=5)
    with pytest.raises(ModelError, match=r"gives told \[n, 5\], .*'open_nsfw'.* asks for \[any, 2\]"):
        add(str(wide), "moderation", family="open_nsfw")
    first = network(tmp_path / "first.onnx", ["n", 3, 8, 8])
    with pytest.raises(ModelError, match=r"takes given \[n, 3, 8, 8\], .* asks for \[any, 8, 8, 3\]"):
        add(str(first), "moderation", family="open_nsfw")
    told = add(str(network(tmp_path / "m.onnx", [1, 8, 8, 3])), "moderation", family="open_nsfw", name="mine")
    assert told["input_size"] == (8, 8)
    assert resolve("moderation", "mine").mean == (104.0, 117.0, 123.0)


def reference(session: Any, picture: npt.NDArray[np.uint8]) -> float:
    """The authors' steps: squeezed to 256 x 256, the middle 224 x 224 of it, blue first, less the means."""
    squeezed = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BILINEAR))
    taken = squeezed[16:240, 16:240, ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    return float(session.run(None, {"input_0": taken[None]})[0][0, 1])


@pytest.mark.media
@pytest.mark.slow
def test_scores_are_those_of_the_authors_steps(media_dir: Path, models_dir: Path) -> None:
    import onnxruntime

    path = models_dir / ENTRY.file_name
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shown = [decode_all(media_dir / clip, 0)[::60][:4] for clip in CLIPS]
    pictures = [frame.to_ndarray(format="rgb24") for clip in shown for frame in clip]
    # Skin-coloured noise as well, which scores higher than what the clips show.
    noise = np.random.default_rng(3).normal(0, 12, (1, 300, 400, 3))
    pictures.append((np.array([205, 150, 125]) + noise).clip(0, 255).astype(np.uint8)[0])
    op = opened(ENTRY, path)
    ours = [op.run(ArrayFrames(picture[None]), {})["unsafe"][0].as_py() for picture in pictures]
    expected = [reference(session, picture) for picture in pictures]
    np.testing.assert_allclose(ours, expected, atol=0.02)
    assert max(expected[:-1]) < 0.2  # nothing in them is unsafe
