"""What families take, against the real files that are of them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from framemill.errors import ModelError
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.model_io import CHANNELS_LAST_FAMILIES, PLANAR_FAMILIES, check_graph, expected_inputs
from framemill.models.registry import KNOWN, ModelEntry, resolve

PICTURES = [entry for entry in KNOWN if entry.input_size and not entry.files]


def test_every_family_that_takes_pictures_says_how_they_are_normalised() -> None:
    assert {*PLANAR_FAMILIES, *CHANNELS_LAST_FAMILIES} <= set(FAMILY_DEFAULTS)
    for entry in PICTURES:
        assert entry.colour and expected_inputs(entry), entry.name
        assert entry.colour == FAMILY_DEFAULTS[entry.family]["colour"], entry.name


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: f"{entry.role}-{entry.name}")
def test_real_files_are_of_their_families(entry: ModelEntry, models_dir: Path) -> None:
    path = models_dir / entry.file_name
    if entry.files or not path.is_file():
        pytest.skip("not among the real weights here")
    check_graph(entry, onnx.load(str(path)))


def test_a_real_file_of_another_family_is_not(models_dir: Path) -> None:
    path = models_dir / "blazepose_landmark_lite.onnx"
    with pytest.raises(ModelError, match=r"takes input_1 \[1, 256, 256, 3\], .*'imagenet' asks for \[any, 3"):
        check_graph(resolve("labels", "mobilenet_v2"), onnx.load(str(path)))
