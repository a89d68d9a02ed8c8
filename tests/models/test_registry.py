from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from framemill.errors import ModelError, UsageError
from framemill.models import registry
from framemill.models.registry import (
    DEFAULTS,
    KNOWN,
    ModelEntry,
    label_set,
    parse_entry,
    resolve,
    user_folder,
)
from tests.models.graphs import scaler

BLOCK: dict[str, Any] = {"name": "mine", "role": "objects", "family": "yolox", "sha256": "0" * 64}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def write_block(text: str, name: str = "mine") -> Path:
    user_folder().mkdir(parents=True, exist_ok=True)
    path = user_folder() / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.name)
def test_known_entries_are_complete(entry: ModelEntry) -> None:
    assert len(entry.sha256) == 64 and entry.num_bytes > 0 and entry.licence
    # Converted models have neither: they are found in a mirror folder alone.
    assert not (entry.urls and entry.package_file)
    for url in entry.urls:
        assert url.startswith("https://") and url.endswith("/") == bool(entry.files)
        assert "/main/" not in url and "/master/" not in url
    assert entry.trained_on and set(entry.unconfirmed) <= {field.name for field in fields(ModelEntry)}
    namesakes = [other for other in KNOWN if other.name == entry.name]
    assert len({other.role for other in namesakes}) == len(namesakes)
    assert {other.sha256 for other in namesakes} == {entry.sha256}


@pytest.mark.parametrize("entry", DEFAULTS.values(), ids=lambda entry: entry.role)
def test_a_default_can_be_had_by_everybody(entry: ModelEntry) -> None:
    """From an address, or inside of a wheel that the constraints pin."""
    assert len(entry.sha256) == 64 and entry.num_bytes and entry.licence and entry.trained_on
    assert entry.commercial == "yes" and not {"sha256", "urls", "num_bytes"} & set(entry.unconfirmed)
    if not entry.urls:
        pins = (Path(__file__).parents[2] / "constraints" / "cpu.txt").read_text("utf-8")
        package = entry.package_file.partition("/")[0].replace("_", "[-_]")
        assert re.search(rf"^{package}==\S+", pins, re.MULTILINE | re.IGNORECASE), entry.package_file
    for url in entry.urls:  # nothing that may change: a commit, or a file of a release
        assert re.search(r"/[0-9a-f]{40}/|/releases/download/|/public/2022\.1/", url), url


def test_commercial_use_is_what_the_licence_of_the_weights_says() -> None:
    """Of every entry alike; what the data behind them say is told beside it."""
    open_ = {"Apache-2.0", "BSD-2-Clause", "MIT", "CC-BY-4.0", "CC0-1.0"}
    for entry in KNOWN:
        forbidden = "non-commercial" in entry.licence
        expected = "yes" if entry.licence in open_ else "no" if forbidden else "unclear"
        assert entry.commercial == expected, entry.name


def test_data_for_research_only_are_named_wherever_a_model_was_trained_on_them() -> None:
    limited = {data for entry in KNOWN for data in entry.research_only}
    assert {"ImageNet", "WIDER FACE", "VGGFace2", "MS-Celeb-1M"} <= limited
    for entry in KNOWN:
        assert set(entry.research_only) == {data for data in limited if data in entry.trained_on}, entry.name


def test_the_keys_of_known_entries_are_those_that_rows_were_made_with() -> None:
    lines = "".join(f"{entry.role} {entry.name} {entry.key}\n" for entry in KNOWN)
    # A changed key computes rows again in every folder that a user has: change this line on purpose only.
    assert (
        hashlib.sha256(lines.encode()).hexdigest()
        == "dc3405e48e44a32e8cec5ec4de489b7b6d63dba410ec043889bbf49467a9a23c"
    )


def test_every_file_of_known_entries_is_read() -> None:
    folder = Path(registry.__file__).parent
    for path in sorted((folder / "entries").glob("*.toml")):
        for block in tomllib.loads(path.read_text("utf-8"))["model"]:
            entry = parse_entry(block)
            assert entry in KNOWN, (path.name, entry.name)
    assert {path.stem for path in (folder / "labels").glob("*.txt")} == set(registry.LABEL_SETS)


def test_one_file_may_serve_several_roles() -> None:
    assert resolve("faces", "yunet_2022mar").role == "faces"
    assert resolve("face_landmarks").name == resolve("faces").name == "yunet_2023mar"
    with pytest.raises(UsageError, match="serves role 'face_landmarks' and 'faces', not 'objects'"):
        resolve("objects", "yunet_2022mar")


def test_coco_has_its_80_names_in_order() -> None:
    names = label_set("coco80")
    assert len(names) == len(set(names)) == 80
    assert [names[i] for i in (0, 2, 39, 67, 79)] == ["person", "car", "bottle", "cell phone", "toothbrush"]


def test_empty_choice_is_the_default_of_the_role() -> None:
    assert resolve("objects").name == "dfine_n"
    assert resolve("vad").name == "silero_vad_v6"
    assert resolve("objects", "dfine_n") is DEFAULTS["objects"]


@pytest.mark.parametrize(
    ("role", "choice", "words"),
    [
        ("nose", "", "unknown model role 'nose'; known roles: .*objects.*, vad"),
        ("objects", "yolo99", "no model 'yolo99' for role 'objects'; known: dfine_n"),
        ("objects", "silero_vad_v6", "serves role 'vad', not 'objects'"),
    ],
)
def test_wrong_choices_are_usage_errors(role: str, choice: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(role, choice)


def test_a_file_has_the_contract_of_the_role_but_its_own_digest(tmp_path: Path) -> None:
    entry = resolve("objects", str(scaler(tmp_path / "own.onnx")))
    assert (entry.name, entry.family, entry.labels) == ("own", "detr", label_set("coco80"))
    assert entry.path == str(tmp_path / "own.onnx") and not entry.urls and entry.input_size is None
    assert entry.sha256 != DEFAULTS["objects"].sha256 and entry.commercial == "unclear"
    with pytest.raises(ModelError, match=r"gone\.onnx cannot be read"):
        resolve("objects", str(tmp_path / "gone.onnx"))


def test_where_a_role_has_files_and_folders_a_path_has_the_contract_of_its_kind(tmp_path: Path) -> None:
    own = resolve("labels", str(scaler(tmp_path / "own.onnx")))
    assert (own.name, own.family, own.labels) == ("own", "imagenet", label_set("imagenet1000"))
    folder = tmp_path / "tower"
    folder.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (folder / name).write_text(name)
    tower = resolve("labels", str(folder))
    assert (tower.family, tower.labels, tower.space) == (
        "siglip2_text",
        label_set("everyday"),
        "siglip2_base",
    )
    with pytest.raises(UsageError, match=r"or give a model folder's path or an \.onnx file's path"):
        resolve("labels", "nonesuch")


def test_a_known_file_keeps_its_entry(models_dir: Path) -> None:
    path = models_dir / "yolox_nano.onnx"
    known = resolve("objects", "yolox_nano")
    assert resolve("objects", str(path)) == replace(known, path=str(path.resolve()))


def test_user_blocks_are_found() -> None:
    write_block(
        f'name = "mine"\nrole = "objects"\nfamily = "yolox"\nsha256 = "{"a" * 64}"\nlabels = ["cat", "dog"]\n'
        'input_size = [640, 384]\nbatching = "fixed"\n'
    )
    entry = resolve("objects", "mine")
    assert (entry.labels, entry.input_size, entry.licence) == (("cat", "dog"), (640, 384), "unknown")


@pytest.mark.parametrize("text", ["name = ", 'name = "x"', "\x00"])
def test_a_broken_block_names_its_file(text: str) -> None:
    path = write_block(text)
    with pytest.raises(ModelError, match=path.name):
        resolve("objects", "mine")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../up"),
        ("name", ""),
        ("sha256", "xyz"),
        ("role", "nose"),
        ("family", "other"),
        ("labels", "no_such_set"),
        ("labels", [1]),
        ("mean", ["a"]),
        ("scale", 1.0),
        ("input_size", [0, 4]),
        ("input_size", [4]),
        ("batching", "sometimes"),
        ("colour", "cmyk"),
        ("url", 5),
        ("urls", "https://one/address"),
        ("num_bytes", -1),
        ("commercial", "maybe"),
        ("weights", "x"),
    ],
)
def test_wrong_values_are_named(key: str, value: Any) -> None:
    parse_entry(BLOCK)
    with pytest.raises(UsageError, match=key):
        parse_entry({**BLOCK, key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": None}, "sha256 is missing; give 64 hexadecimal digits"),
        ({"sha256": "A" * 64}, r"sha256 is 'AAA.*'; give 64 hexadecimal digits in lower case"),
        ({"colour": "cmyk"}, "colour is 'cmyk'; give rgb, bgr or gray"),
        ({"input_size": [0, 4]}, r"input_size is \[0, 4\]; give \[width, height\] in pixels"),
        ({"mean": [True]}, r"mean is \[True\]; give a list of numbers"),
        ({"num_bytes": 1.5}, r"num_bytes is 1\.5; give a whole number >= 0"),
        ({"files": [{"name": "a/../b", "sha256": "0" * 64, "num_bytes": 1}]}, "files is .*'a/../b'"),
        (
            {"files": [{"name": "a", "sha256": "0" * 64, "num_bytes": 1, "x": 1}]},
            "files is .*; give each name",
        ),
        ({"weights": 1}, "unknown key 'weights'; allowed are batching, colour"),
    ],
)
def test_wrong_blocks_say_which_file_key_value_and_what_is_allowed(
    change: dict[str, Any], words: str
) -> None:
    block = {key: value for key, value in {**BLOCK, **change}.items() if value is not None}
    with pytest.raises(UsageError, match=words):
        parse_entry(block)
    path = write_block("\n".join(f"{key} = {toml(value)}" for key, value in block.items()))
    with pytest.raises(ModelError, match=rf"model block {path}: {words}.*; repair or delete it"):
        resolve("objects", "mine")


def test_whole_numbers_stay_whole_so_that_keys_stay_as_they_are() -> None:
    entry = parse_entry({**BLOCK, "mean": [1, 2.5, 3], "scale": [0.5]})
    assert repr((entry.mean, entry.scale)) == "((1, 2.5, 3), (0.5,))"


def test_key_changes_with_what_changes_rows_and_nothing_else() -> None:
    entry = resolve("objects", "yolox_nano")
    for change in (
        {"sha256": "1" * 64},
        {"labels": ("a",)},
        {"mean": (1.0,)},
        {"batching": "none"},
        {"sure_from": 0.8},
    ):
        assert replace(entry, **change).key != entry.key
    assert replace(entry, name="n", urls=("https://elsewhere/x",), licence="MIT", path="/x").key == entry.key


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, framemill.models.registry, framemill.models.store\n"
        "framemill.models.registry.resolve('objects')\n"
        "heavy = {'onnx', 'onnxruntime', 'numpy', 'cv2', 'urllib.request'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "framemill.models.store.locate(framemill.models.registry.resolve('vad'))\n"
        "assert 'faster_whisper' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
