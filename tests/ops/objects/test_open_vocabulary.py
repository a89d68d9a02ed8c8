"""Things that words name: tiny networks of OWLv2's layout with known answers, a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.errors import ModelError, UsageError
from framemill.models.adding import add
from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.registry import DEFAULTS, resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.objects.open_vocabulary import SIZE, OpenVocabulary
from tests.ops.frames.embedding_stand_ins import WORDS, folder_entry, word_tokenizer
from tests.ops.frames_stub import ArrayFrames

SIDE = 32


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


def network(path: Path, places: Sequence[tuple[float, Sequence[float]]], channels: int = 3) -> Path:
    """Each place fits a word by its own number plus the number of the word's first token.

    Args:
        places: number and box (centre, width and height, in parts of the square) of each.
    """
    numbers, boxes = zip(*places, strict=True)
    given = {
        "numbers": np.array(numbers, np.float32)[None, :, None],
        "boxes": np.array(boxes, np.float32)[None],
        "first": np.array(0),
        "none": np.array(0, np.float32),
        "front": np.array([0, 1]),
    }
    nodes = [
        helper.make_node("Gather", ["input_ids", "first"], ["token"], axis=1),
        helper.make_node("Cast", ["token"], ["value"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["value", "front"], ["word"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask"], ["masked"], keepdims=0),
        helper.make_node("ReduceSum", ["pixel_values"], ["seen"], keepdims=0),
        helper.make_node("Add", ["masked", "seen"], ["all"]),
        helper.make_node("Mul", ["all", "none"], ["nothing"]),
        helper.make_node("Add", ["numbers", "nothing"], ["place"]),
        helper.make_node("Add", ["place", "word"], ["logits"]),
        helper.make_node("Identity", ["boxes"], ["pred_boxes"]),
    ]
    taken = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["words", "tokens"]),
        helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", channels, "h", "w"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["words", "tokens"]),
    ]
    told = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "places", "words"]),
        helper.make_tensor_value_info("pred_boxes", TensorProto.FLOAT, ["n", "places", 4]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in given.items()]
    graph = helper.make_graph(nodes, "words", taken, told, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def entry_with(folder: Path, *places: tuple[float, Sequence[float]]) -> ModelEntry:
    folder.mkdir(exist_ok=True)
    network(folder / "model.onnx", places)
    word_tokenizer(folder / "tokenizer.json", ("!", *WORDS))
    size = {"input_size": (SIDE, SIDE), **FAMILY_DEFAULTS["owlv2"]}
    return folder_entry(folder, "tiny", "open_vocabulary", "owlv2", **size)


def opened(entry: ModelEntry, **options: Any) -> OpenVocabulary:
    model, _ = open_model(entry, Path(entry.path), 1, "cpu")
    return OpenVocabulary(OpenVocabulary.Options(**options), {"open_vocabulary": model})


WIDE = ArrayFrames(np.full((2, 100, 200, 3), 90, np.uint8))  # the lower half of the square is filled up


def test_boxes_are_in_pixels_of_the_frame_and_labels_the_words_that_fit_best(tmp_path: Path) -> None:
    """The tokens are ?, </s>, !, a, dog, cat: numbers 4 and 5 are the words asked for."""
    entry = entry_with(tmp_path / "m", (-4.0, (0.5, 0.25, 0.5, 0.25)), (-5.5, (0.0, 0.0, 0.25, 0.5)))
    rows = opened(entry, words="dog, cat").run(WIDE, {})
    assert rows.schema.equals(OpenVocabulary.schema, check_metadata=True)
    assert rows["frame_index"].to_pylist() == [0, 0, 1, 1]
    assert rows["object_index"].to_pylist() == [0, 1, 0, 1]
    assert rows["label"].to_pylist() == ["cat"] * 4 and rows["label_index"].to_pylist() == [1] * 4
    np.testing.assert_allclose(rows["score"].to_numpy()[:2], 1 / (1 + np.exp([-1.0, 0.5])), atol=1e-6)
    first, second = (list(box.values()) for box in rows["box"].to_pylist()[:2])
    np.testing.assert_allclose(first, [50, 25, 150, 75], atol=1e-3)
    np.testing.assert_allclose(second, [0, 0, 25, 50], atol=1e-3)  # clipped to the frame


def test_what_fits_little_lies_beside_the_frame_or_doubles_another_has_no_row(tmp_path: Path) -> None:
    entry = entry_with(
        tmp_path / "m",
        (-2.0, (0.5, 0.25, 0.5, 0.25)),
        (-3.0, (0.51, 0.25, 0.5, 0.25)),  # the same thing again
        (-3.0, (0.5, 0.8, 0.2, 0.2)),  # on the grey
        (-8.0, (0.2, 0.2, 0.2, 0.2)),
    )
    assert opened(entry, words="dog").run(WIDE, {}).num_rows == 2  # one in each frame
    assert opened(entry, words="dog", nms=1.0).run(WIDE, {}).num_rows == 4
    assert opened(entry, words="dog", nms=1.0, max_objects=1).run(WIDE, {}).num_rows == 2
    assert opened(entry, words="dog", score=0.01).run(WIDE, {}).num_rows == 4
    assert opened(entry, words="dog", score=0.9).run(WIDE, {}).num_rows == 0


class Recorder:
    """Notes what it is given, and finds nothing."""

    max_batch = 1

    def __init__(self) -> None:
        self.inputs: list[dict[str, npt.NDArray[Any]]] = []

    def run_whole(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        self.inputs.append(dict(inputs))
        words = len(inputs["input_ids"])
        return {"logits": np.full((1, 3, words), -9.0), "pred_boxes": np.zeros((1, 3, 4), np.float32)}

    run = run_whole


def test_frames_lie_on_grey_and_words_are_filled_up(tmp_path: Path) -> None:
    runner = Recorder()
    model = Model(entry_with(tmp_path / "m", (0.0, (0.5, 0.5, 0.1, 0.1))), runner)
    op = OpenVocabulary(OpenVocabulary.Options(words="a dog\ncat"), {"open_vocabulary": model})
    assert op.run(WIDE, {}).num_rows == 0 and len(runner.inputs) == 2
    given = runner.inputs[0]
    mean, scale = (np.array(FAMILY_DEFAULTS["owlv2"][name])[:, None, None] for name in ("mean", "scale"))
    picture = given["pixel_values"][0] / scale + mean
    assert picture.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(picture[:, :16], 90, atol=0.5)
    np.testing.assert_allclose(picture[:, 16:], 127.5, atol=0.01)
    assert given["input_ids"].tolist() == [[3, 4] + [2] * 14, [5] + [2] * 15]
    assert given["attention_mask"].tolist() == [[1, 1] + [0] * 14, [1] + [0] * 15]


def test_words_are_those_of_the_option_or_of_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("red, small car\n\nlogo\nlogo\n", "utf-8")
    options = OpenVocabulary.Options(words=f"@{listed}")
    assert options.words.splitlines() == ["red, small car", "logo"]
    assert OpenVocabulary.Options(words=options.words) == options  # as workers get them
    one = OpenVocabulary.Options(words="red, small car\n")
    assert OpenVocabulary.Options(words=one.words) == one
    assert OpenVocabulary.Options().words.splitlines() == ["logo"]
    many = ",".join(f"word {number}" for number in range(101))
    for words in ("", " , ", many):
        with pytest.raises(UsageError, match=r"open_vocabulary\.words has \d+ labels; give 1 to 100"):
            OpenVocabulary.Options(words=words)
    for name, value in (("score", 1.5), ("nms", -0.1), ("max_objects", 0)):
        with pytest.raises(UsageError, match=rf"open_vocabulary\.{name} is {value}; it must be"):
            OpenVocabulary.Options(**{name: value})


def test_a_word_that_would_be_cut_off_is_refused(tmp_path: Path) -> None:
    entry = entry_with(tmp_path / "m", (0.0, (0.5, 0.5, 0.1, 0.1)))
    assert opened(entry, words=" ".join(["dog"] * 16)).run(WIDE, {}).num_rows == 2
    with pytest.raises(ModelError, match=r"'dog dog .*' has more than the 16 tokens that model tiny reads"):
        opened(entry, words="cat\n" + " ".join(["dog"] * 17))


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    entry = entry_with(tmp_path / "m", (0.0, (0.5, 0.5, 0.1, 0.1)))

    class Short(Recorder):
        def run_whole(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
            return {"logits": np.zeros((1, 3, 7)), "pred_boxes": np.zeros((1, 3, 4))}

    op = OpenVocabulary(OpenVocabulary.Options(), {"open_vocabulary": Model(entry, Short())})
    with pytest.raises(ModelError, match=r"gives \{'logits': \[1, 3, 7\], .*\} for 1 words, but the family"):
        op.run(WIDE, {})
    other = folder_entry(tmp_path / "m", "tiny", "open_vocabulary", "detr", input_size=(SIDE, SIDE))
    with pytest.raises(ModelError, match=r"is of family 'detr'; choose one of owlv2"):
        opened(other)


def test_a_file_of_another_contract_is_refused_when_it_is_added(tmp_path: Path) -> None:
    grey = network(tmp_path / "grey.onnx", [(0.0, (0.5, 0.5, 0.1, 0.1))], channels=1)
    with pytest.raises(
        ModelError, match=r"pixel_values \[n, 1, h, w\], .* pixel_values \[any, 3, 960, 960\]"
    ):
        add(str(grey), "open_vocabulary", input_size=(960, 960))


def test_a_folder_with_graph_and_tokenizer_is_a_model(tmp_path: Path) -> None:
    entry_with(tmp_path / "m", (0.0, (0.25, 0.25, 0.5, 0.5)))
    found = resolve("open_vocabulary", str(tmp_path / "m"))
    assert found.family == "owlv2" and {file.name for file in found.files} == {"model.onnx", "tokenizer.json"}
    # Neither the folder nor its graph states the size of pictures: it is that of the base network.
    assert DEFAULTS["open_vocabulary"].input_size == SIZE
    (box, _) = opened(found, words="dog").run(WIDE, {})["box"].to_pylist()
    np.testing.assert_allclose(list(box.values()), [0, 0, 100, 100], atol=1e-3)
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"is no owlv2 model: it lacks tokenizer\.json"):
        resolve("open_vocabulary", str(tmp_path / "m"))
