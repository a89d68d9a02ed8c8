from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from framemill.errors import ModelError, UsageError
from framemill.models.adding import add
from framemill.models.registry import label_set, resolve, user_folder
from framemill.models.store import find, list_models, verify
from tests.models.graphs import external, mixer, quantizer, save, scaler
from tests.ops.objects.object_networks import write_network


def test_an_added_file_is_found_by_name(tmp_path: Path) -> None:
    path = scaler(tmp_path / "my cars (2).onnx")
    told = add(str(path), "objects", labels=["a", 'b "quoted" \\ ü'], licence="CC0-1.0", commercial=True)
    assert (told["name"], told["batching"], told["input_size"]) == ("my-cars-2", "fixed", (4, 4))
    assert "equal" in told["reason"] and Path(told["block"]).parent == user_folder()
    entry = resolve("objects", "my-cars-2")
    assert entry.labels == ("a", 'b "quoted" \\ ü') and entry.commercial and entry.colour == "bgr"
    assert find(entry) == path
    assert "my-cars-2" in {row["name"] for row in list_models()}
    assert [row["status"] for row in verify(["my-cars-2"])] == ["ok"]


def test_the_labels_of_the_role_are_the_default(tmp_path: Path) -> None:
    told = add(str(scaler(tmp_path / "m.onnx")), "objects", name="other", mean=[1, 2.5, 3], scale=[0.5])
    assert 'labels = "coco80"' in Path(told["block"]).read_text("utf-8")
    entry = resolve("objects", "other")
    assert entry.labels == label_set("coco80") and entry.mean == (1, 2.5, 3) and entry.scale == (0.5,)


def test_what_cannot_be_batched_is_told(tmp_path: Path) -> None:
    assert add(str(mixer(tmp_path / "mixer.onnx")), "objects")["batching"] == "none"
    told = add(str(quantizer(tmp_path / "quantizer.onnx")), "objects")
    assert told["batching"] == "none" and "DynamicQuantizeLinear" in told["reason"]


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    add(str(path), "objects")
    scaler(path, factor=3.0)
    with pytest.raises(ModelError, match="add the model again"):
        find(resolve("objects", "m"))


class Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


def test_a_url_is_fetched_checked_and_kept_in_the_cache(tmp_path: Path) -> None:
    content = scaler(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "page.onnx").write_bytes(b"<html>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            told = add(f"{url}/m.onnx", "objects")
            with pytest.raises(ModelError, match="no valid ONNX"):
                add(f"{url}/page.onnx", "objects")
        finally:
            server.shutdown()
            thread.join()
    assert told["urls"] == (f"{url}/m.onnx",) and told["path"] == ""
    path = find(resolve("objects", "m"))  # the server is gone: it is in the cache
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_family_is_the_first_of_the_role_s_that_fits(tmp_path: Path) -> None:
    size = (64, 64)
    answers = {"logits": np.zeros((3, 80), np.float32), "pred_boxes": np.zeros((3, 4), np.float32)}
    queries = write_network(tmp_path / "queries.onnx", size, answers, input_name="pixel_values")
    assert add(str(queries), "objects")["family"] == "detr"
    assert add(str(scaler(tmp_path / "cells.onnx")), "objects")["family"] == "yolox"
    with pytest.raises(ModelError, match="family 'detr' with 80 labels asks for logits"):
        add(str(scaler(tmp_path / "named.onnx")), "objects", family="detr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"role": "nose"}, "unknown model role"),
        ({"family": "silero"}, "does not serve role"),
        ({"name": "yolox_nano"}, "a model named 'yolox_nano' exists"),
        ({"name": "a/b"}, "letters, digits"),
        ({"labels": "no_set"}, "no label set"),
        ({"mean": [float("nan")]}, "mean is .*a list of numbers"),
        ({"scale": [1, 2, float("inf")]}, "scale is .*a list of numbers"),
        ({"scale": [10**400]}, "scale is .*a list of numbers"),
        ({"licence": "of bytes: \udcff"}, "licence .* is not UTF-8"),
        ({"source": "weights.pt"}, "pickle"),
        ({"source": "https://example.invalid/weights.bin?download=1"}, "pickle"),
    ],
)
def test_wrong_requests_leave_nothing(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    request = {"source": str(scaler(tmp_path / "m.onnx")), "role": "objects", **change}
    with pytest.raises(UsageError, match=words):
        add(**request)
    assert not user_folder().exists()


def test_unsafe_files_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="other files"):
        add(str(external(tmp_path / "m.onnx")), "objects")
    with pytest.raises(ModelError, match="cannot be read"):
        add(str(tmp_path / "absent.onnx"), "objects")
    with pytest.raises(ModelError, match="only https"):
        add("http://example.invalid/m.onnx", "objects")
    assert not user_folder().exists()


def test_networks_that_hear_all_of_audioset_get_its_names(tmp_path: Path) -> None:
    path = save(
        tmp_path / "hears.onnx",
        [
            helper.make_node("ReduceMean", ["input"], ["embedding"], axes=[1], keepdims=1),
            helper.make_node("Expand", ["embedding", "shape"], ["clipwise_output"]),
        ],
        {"input": ["n", "samples"]},
        {"clipwise_output": ["n", 527], "embedding": ["n", 1]},
        {"shape": np.array([1, 527])},
    )
    add(str(path), "sounds", family="panns")
    labels = resolve("sounds", "hears").labels
    assert labels == label_set("audioset527") and len(set(labels)) == 527
    # Places in AudioSet's own numbering, before, between and after those that YAMNet leaves out.
    places = {0: "Speech", 3: "Child speech, kid speaking", 27: "Singing", 34: "Child singing", 137: "Music"}
    places |= {276: "Happy music", 278: "Sad music", 300: "Vehicle", 500: "Silence", 526: "Field recording"}
    assert {place: labels[place] for place in places} == places
    yamnet = label_set("audioset521")
    assert len(yamnet) == 521 and tuple(name for name in labels if name in yamnet) == yamnet
