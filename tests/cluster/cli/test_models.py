"""Models from the command line: what is refused, with which words and which exit code."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from framemill.cluster.cli.main import main
from framemill.models import registry
from framemill.models.registry import DEFAULTS, KNOWN, ModelEntry, user_folder
from tests.actors.clips import moving, write_clip
from tests.models.graphs import external, scaler
from tests.ops.objects.object_networks import write_network
from tests.small_models import SMALL, flags

SIZE = (64, 64)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(mirror))
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    return mirror


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def custom(path: Path) -> Path:
    """Has an operator that only a library of its own knows."""
    graph = helper.make_graph(
        [helper.make_node("Foo", ["x"], ["y"], domain="my.ops")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 84, 85])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def half(path: Path) -> Path:
    whole = scaler(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def picture(path: Path, *, side: int = 112, channels_last: bool = False) -> Path:
    shape = [1, side, side, 3] if channels_last else [1, 3, side, side]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["data"], ["y"], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("file", "role", "words", "said"),
    [
        (external, "objects", (), "other files (weights.bin)"),
        (custom, "objects", (), "my.ops:Foo"),
        (half, "objects", (), "no valid ONNX model"),
        (picture, "poses", (), "data [1, 3, 112, 112], but family 'blazepose' asks for [any, 112, 112, 3]"),
        (
            partial(picture, channels_last=True),
            "face_embeddings",
            ("--input-size", "112x112"),
            "takes data [1, 112, 112, 3], but family 'arcface' asks for [any, 3, 112, 112]",
        ),
        (picture, "emotions", ("--family", "fer"), "family 'fer' asks for [any, 112, 112, 1]"),
        (partial(picture, channels_last=True), "image_embeddings", (), "asks for [any, 3, 112, 112]"),
        (picture, "labels", ("--input-size", "224x224"), "family 'imagenet' asks for [any, 3, 224, 224]"),
        (picture, "aesthetics", (), "family 'laion' asks for [any, any]"),
        (picture, "sounds", (), "family 'yamnet' asks for [any]"),
        (picture, "speaker_segmentation", (), "family 'pyannote_powerset' asks for [any, 1, any]"),
        (partial(picture, channels_last=True), "text_recognition", (), "asks for [any, 3, 112, any]"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_when_added(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: Any,
    role: str,
    words: tuple[str, ...],
    said: str,
) -> None:
    code, out, err = run(capsys, "models", "add", file(tmp_path / "m.onnx"), "--role", role, *words)
    assert (code, out) == (5, "")
    assert said in err and "Traceback" not in err
    assert not user_folder().exists()


def test_a_model_that_takes_any_size_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "h", "w"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    code, _, err = run(capsys, "models", "add", path, "--role", "labels")
    assert code == 5 and "--input-size WIDTHxHEIGHT" in err
    assert run(capsys, "models", "add", path, "--role", "labels", "--input-size", "224x160")[0] == 0


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_clip(path, moving(12))
    return path


def test_a_missing_model_names_the_role_the_command_and_what_can_run(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ops = "frames,faces,emotions,objects,composition,quality"
    code, out, err = run(capsys, "extract", clip, "-o", tmp_path / "out", "--ops", ops)
    assert (code, out) == (5, "")
    assert "no model for the role faces: " in err and "framemill models pull yunet_2023mar" in err
    assert "no model for the role objects: " in err and "framemill models pull dfine_n" in err
    assert (
        "It stops objects, faces, emotions, composition; these can run without: --ops frames,quality" in err
    )
    assert run(capsys, "extract", clip, "-o", tmp_path / "out", "--ops", "frames,quality")[0] == 0


def test_a_model_without_an_address_names_one_that_can_be_fetched(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("extract", clip, "-o", tmp_path / "out", "--ops", "faces,emotions", *flags("emotions"))
    code, _, err = run(capsys, *asked)
    # Converted for this project: what can be fetched instead is named.
    assert code == 5 and "framemill models pull hsemotion_enet_b0_8" in err
    assert "--model emotions=hsemotion_enet_b0_8" in err


def test_a_wrong_digest_is_refused_with_both(
    tmp_path: Path, clip: Path, own_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folders / "yolox_nano.onnx").write_bytes(b"another")
    asked = ("extract", clip, "-o", tmp_path / "out", "--ops", "objects", *flags("objects"))
    code, _, err = run(capsys, *asked)
    assert code == 5 and hashlib.sha256(b"another").hexdigest() in err
    assert SMALL["objects"].sha256 in err and "replace the file in the mirror folder" in err
    assert run(capsys, "models", "verify", "yolox_nano")[0] == 5


class Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=tmp_path / "web")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def block(url: str, content: bytes) -> None:
    user_folder().mkdir(parents=True, exist_ok=True)
    (user_folder() / "mine.toml").write_text(
        f'name = "mine"\nrole = "objects"\nfamily = "yolov8"\nurl = "{url}/m.onnx"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nnum_bytes = {len(content)}\n'
        'input_size = [64, 64]\nlabels = ["cat", "dog", "cow"]\n'
    )


def test_a_truncated_download_is_refused_and_a_whole_one_runs(
    tmp_path: Path, clip: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRAMEMILL_OFFLINE")
    guesses = np.zeros((7, 5), np.float32)
    guesses[:4, 0], guesses[5, 0] = (32, 32, 16, 8), 0.9
    content = write_network(tmp_path / "web" / "m.onnx", SIZE, {"output0": guesses}).read_bytes()
    block(url, content)
    (tmp_path / "web" / "m.onnx").write_bytes(content[:-100])
    code, _, err = run(capsys, "models", "pull", "mine")
    assert code == 5 and f"sent {len(content) - 100} bytes" in err and f"wanted {len(content)} bytes" in err
    assert not list((tmp_path / "cache").rglob("*.onnx"))
    request = (
        "extract",
        clip,
        "-o",
        tmp_path / "out",
        "--ops",
        "objects",
        "--model",
        "objects=mine",
        "--json",
    )
    code, _, err = run(capsys, *request)
    assert code == 5 and "no model for the role objects" in err and "framemill models pull mine" in err
    # A TOML block is all that it takes: the next run fetches the file and uses it.
    (tmp_path / "web" / "m.onnx").write_bytes(content)
    code, out, err = run(capsys, *request)
    assert code == 0 and json.loads(out)["rows"]["objects"] > 0
    assert "fetching model mine" in err


def test_a_licence_that_forbids_commercial_use_must_be_accepted(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = run(capsys, "models", "list")[1]
    (line,) = [line for line in table.splitlines() if line.startswith("scrfd_10g")]
    assert "non-commercial research only" in line
    known = json.loads(run(capsys, "models", "list", "--json")[1])
    assert [m["name"] for m in known if m["commercial"] == "no"] == [
        e.name for e in KNOWN if e.commercial == "no"
    ]
    extract = ("extract", clip, "-o", tmp_path / "out", "--ops", "faces", "--model", "faces=scrfd_10g")
    for refused in (("models", "pull", "scrfd_10g"), extract):
        code, _, err = run(capsys, *refused)
        assert code == 2 and "non-commercial research only" in err and "--accept-licence" in err
        assert "yunet_2023mar" in err  # one that anybody may use
        # Accepted, it only lacks the file.
        code, _, err = run(capsys, *refused, "--accept-licence")
        assert code == 5 and "--accept-licence" not in err
    monkeypatch.setenv("FRAMEMILL_ACCEPT_LICENCE", "1")
    assert run(capsys, *extract)[0] == 5


def test_an_unclear_licence_is_accepted_once(own_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folders / "nima_mobilenet.onnx").write_bytes(b"other")
    code, _, err = run(capsys, "models", "pull", "nima_mobilenet")
    assert code == 2 and "may be for commercial use or not" in err and "trained on AVA" in err
    assert "--accept-licence once" in err and "laion_vit_b32" in err
    # Accepted, only its file is wrong; and it is not asked for again.
    for words in (("--accept-licence",), (), ()):
        code, _, err = run(capsys, "models", "pull", "nima_mobilenet", *words)
        assert code == 5 and "has sha256" in err
    assert (user_folder().parent / "accepted_licences.txt").read_text().count("nima_mobilenet") == 1


def test_what_was_accepted_must_be_readable_and_writable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = user_folder().parent
    folder.mkdir(parents=True)
    (folder / "accepted_licences.txt").write_bytes(b"\xff")
    code, _, err = run(capsys, "models", "pull", "nima_mobilenet")
    assert code == 5 and "accepted_licences.txt cannot be read" in err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "file" / "inside"))
    code, _, err = run(capsys, "models", "pull", "nima_mobilenet", "--accept-licence")
    assert code == 5 and "FRAMEMILL_CONFIG_DIR" in err


def test_listing_tells_origin_licence_and_state(
    own_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folders / "yolox_nano.onnx").write_bytes(b"other")
    known = {m["name"]: m for m in json.loads(run(capsys, "models", "list", "--json")[1])}
    vad, objects = known["silero_vad_v6"], known["yolox_nano"]
    assert (vad["is_default"], vad["package"], vad["urls"], vad["state"]) == (
        True,
        "faster_whisper",
        [],
        "ok",
    )
    assert objects["urls"][0].startswith("https://github.com/Megvii-BaseDetection/YOLOX/releases/")
    assert (objects["package"], objects["licence"], objects["trained_on"]) == (
        None,
        "Apache-2.0",
        "COCO 2017",
    )
    assert objects["origin"] == "Megvii-BaseDetection/YOLOX" and objects["state"] == "ok"
    assert known["yolox_s"]["state"] == "absent" and not known["yolox_s"]["is_default"]
    assert known["nima_mobilenet"]["commercial"] == "unclear"
    assert known["emotion_mobilefacenet"]["research_only"] == ["RAF-DB"] and objects["research_only"] == []
    assert known["nima_mobilenet"]["unconfirmed"] == ["licence", "trained_on"]
    defaults = {m["role"]: m["name"] for m in known.values() if m["is_default"]}
    assert defaults.items() >= {("objects", DEFAULTS["objects"].name), ("vad", "silero_vad_v6")}


@pytest.mark.parametrize("columns", [80, 100])
def test_the_list_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr("framemill.cluster.cli.output._is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run(capsys, "models", "list")[1].splitlines()
    assert lines[0].split() == ["model", "size", "licence", "origin", "state"]
    num_rows = len(KNOWN) + len({entry.role for entry in KNOWN})
    table = lines[: 2 + num_rows]
    assert max(map(len, lines)) <= columns
    assert table[2] == "objects" and table[3].startswith("  dfine_n  ") and "  Apache-2.0  " in table[3]
    models = [line for line in table if line.startswith("  ")]
    assert len(models) == len(KNOWN)
    assert not any("…" in line[: line.index("B  ")] for line in models)  # names and sizes are whole
    assert lines[2 + num_rows].startswith("1 of ") or "are here" in lines[2 + num_rows]
    after = lines[2 + num_rows :]
    assert lines[-1] == "  owlv2_base: files"
    assert "  nima_mobilenet: licence, trained_on" in after
    assert "  RAF-DB: emotion_mobilefacenet" in after
    assert "  MS-Celeb-1M: sface_2021dec, mobilefacenet" in after
    assert not [line for line in after if "arcface_w600k_r50" in line]  # its licence says so itself


def test_a_model_of_the_users_own_needs_no_consent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_network(tmp_path / "own.onnx", SIZE, {"out": np.zeros((6, 6), np.float32)})
    words = ("--role", "objects", "--family", "yolo_end_to_end", "--labels", "a,b", "--licence", "AGPL-3.0")
    assert run(capsys, "models", "add", path, *words)[0] == 0
    entry: ModelEntry = registry.resolve("objects", "own")
    assert entry.commercial == "unclear"
    registry.check_licences([entry], False)


def test_permissive_models_come_first_in_each_role() -> None:
    for role, entry in DEFAULTS.items():
        assert entry.commercial == "yes", role
        published = [
            e for e in KNOWN if e.role == role and (e.urls or e.package_file) and e.commercial == "yes"
        ]
        assert published, role
        free = [e.commercial == "yes" for e in KNOWN if e.role == role]
        assert free == sorted(free, reverse=True), role
