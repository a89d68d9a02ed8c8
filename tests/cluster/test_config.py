"""Settings: precedence, parsing, and refusals that name their place."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.config import parse_size, read_settings, unknown_variables
from framemill.cluster.request import ExtractRequest
from framemill.errors import UsageError

EVERY_SETTING = """
ops = ["media", "frames"]
sample = "every:1"
video_track = "0"
audio_track = "eng"
images = true
engine = "local"
address = "127.0.0.1:6379"
actors = "1-4"
actor_cpus = 2
actor_gpus = 0.5
require_provider = "cpu"
precision = "int8"
quality = "best"
accept_licence = true
cascade = "objects"
replace = true
replace_all = true
retry_failed = true
keep_bytes = "10GB"
threads = 2
memory = "512MiB"
deadline_factor = 30
sandbox = "strict"
sandbox_allow = ["/mnt/weights", "/var/log/mine"]
topology = "split"
decoders = "2"
decoder_cpus = 0.5
stall_after = 90
wait_for_room = 300
actors_per_gpu = 2
tolerate_failures = "2%"
profile = "trace.json"
[model]
objects = "yolox_nano"
[set.scenes]
threshold = 2.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_shortcuts_are_options_of_an_operation(tmp_path: Path) -> None:
    settings = read_settings({"language": "de", "task": None}, {"FRAMEMILL_TASK": "translate"}, None)
    assert settings == {"options": {"transcript": {"language": "de", "task": "translate"}}}
    assert read_settings({}, {}, write(tmp_path, 'language = "fr"')) == {
        "options": {"transcript": {"language": "fr"}},
        "spare": ("transcript",),
    }


def test_every_key_of_the_file_becomes_a_field_of_the_request(tmp_path: Path) -> None:
    settings = read_settings({}, {}, write(tmp_path, EVERY_SETTING))
    assert settings == {
        "ops": ("media", "frames"),
        "sample": "every:1",
        "video_track": "0",
        "audio_track": "eng",
        "engine": "local",
        "address": "127.0.0.1:6379",
        "actors": "1-4",
        "actor_cpus": 2.0,
        "actor_gpus": 0.5,
        "require_provider": "cpu",
        "precision": "int8",
        "quality": "best",
        "accept_licence": True,
        "cascade": ("objects",),
        "topology": "split",
        "decoders": "2",
        "decoder_cpus": 0.5,
        "stall_seconds": 90.0,
        "room_seconds": 300.0,
        "actors_per_gpu": 2,
        "tolerate_failures": "2%",
        "replace": True,
        "replace_all": True,
        "retry_failed": True,
        "keep_bytes": 10_000_000_000,
        "threads": 2,
        "memory_bytes": 512 * 1024 * 1024,
        "deadline_factor": 30.0,
        "sandbox": "strict",
        "sandbox_allow": ("/mnt/weights", "/var/log/mine"),
        "profile": "trace.json",
        "models": {"objects": "yolox_nano"},
        "options": {"scenes": {"threshold": 2.5}, "frames": {"images": True}},
        "spare": ("frames", "objects", "scenes"),
    }
    request = ExtractRequest(sources=("a.mp4",), output="out", **settings)
    assert {field.name for field in fields(request)} == set(settings) | {"sources", "output", "verbosity"}


@pytest.mark.parametrize(
    ("flag", "variable", "in_file", "expected"),
    [
        ("all", "scenes", 'sample = "every:1"', "all"),
        (None, "scenes", 'sample = "every:1"', "scenes"),
        (None, None, 'sample = "every:1"', "every:1"),
        (None, None, "", None),
    ],
)
def test_flags_beat_variables_beat_the_file(
    tmp_path: Path, flag: str | None, variable: str | None, in_file: str, expected: str | None
) -> None:
    environ = {"FRAMEMILL_SAMPLE": variable} if variable else {}
    assert read_settings({"sample": flag}, environ, write(tmp_path, in_file)).get("sample") == expected


def test_tables_merge_key_by_key(tmp_path: Path) -> None:
    path = write(tmp_path, '[model]\na = "file"\nb = "file"\nc = "file"\n[set.op]\nx = 1\ny = 1\nz = 1')
    environ = {"FRAMEMILL_MODEL": "b=variable c=variable", "FRAMEMILL_SET": "op.y=2 'op.z=two words'"}
    settings = read_settings({"model": ("c=flag=1",), "set": ("op.z=3",)}, environ, path)
    assert settings["models"] == {"a": "file", "b": "variable", "c": "flag=1"}
    assert settings["options"] == {"op": {"x": 1, "y": 2, "z": 3}}


def test_a_flag_switches_off_what_the_file_switches_on(tmp_path: Path) -> None:
    path = write(tmp_path, "images = true\nreplace = true")
    settings = read_settings({"images": False, "replace": False}, {}, path)
    assert settings == {"options": {"frames": {"images": False}}, "replace": False}, (
        "typed: not to be left unused"
    )


def test_the_file_in_the_current_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings({}, {}) == {}
    Path("framemill.toml").write_text("threads = 3")
    assert read_settings({}, {}) == {"threads": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("3", 3),
        ("0.5", 0.5),
        ("[1, 2]", [1, 2]),
        ("word", "word"),
        ('"3"', "3"),
        ("NaN", "NaN"),
        ("a=b", "a=b"),
        ("null", None),
    ],
)
def test_option_values_keep_the_type_they_are_written_in(text: str, value: object) -> None:
    assert read_settings({"set": (f"op.x={text}",)}, {}) == {"options": {"op": {"x": value}}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('sampel = "all"', "unknown key 'sampel'"),
        ("threads = -1", "threads: -1"),
        ("threads = true", "threads: True"),
        ('replace = "maybe"', "replace: 'maybe'"),
        ('engine = "cloud"', "auto, local, ray"),
        ("set = 3", "table per operation"),
        ("set = [3]", "OP.OPTION=VALUE"),
        ("model = [3]", "ROLE=NAME"),
        ("[set]\nframes = 3", "table per operation"),
        ("[model]\nobjects = 3", "name or a path"),
        ("ops = 3", "list of names"),
        ("deadline_factor = 0", "above 0"),
        ("sample = 1", "in quotes"),
        ("model = 'a b'", "ROLE=NAME"),
        ("broken =", "cannot be read"),
    ],
)
def test_refusals_of_the_file_name_file_and_key(tmp_path: Path, content: str, said: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        read_settings({}, {}, path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml"):
        read_settings({}, {}, tmp_path / "absent.toml")


def test_refusals_name_the_variable_or_the_flag() -> None:
    with pytest.raises(UsageError, match="FRAMEMILL_THREADS: 'many'"):
        read_settings({}, {"FRAMEMILL_THREADS": "many"})
    with pytest.raises(UsageError, match="--keep-bytes: '10 parsecs'"):
        read_settings({"keep_bytes": "10 parsecs"}, {})
    with pytest.raises(UsageError, match=r"--set: .*OP\.OPTION=VALUE"):
        read_settings({"set": ("images=true",)}, {})
    with pytest.raises(UsageError, match="FRAMEMILL_SET"):
        read_settings({}, {"FRAMEMILL_SET": "'open quote"})


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({}, {"FRAMEMILL_SAMPLE": "", "FRAMEMILL_THREADS": ""}) == {}


def test_unknown_variables_are_found() -> None:
    environ = {"FRAMEMILL_SAMPEL": "all", "FRAMEMILL_SAMPLE": "all", "FRAMEMILL_OFFLINE": "1", "PATH": ""}
    assert unknown_variables(environ, ["FRAMEMILL_OFFLINE"]) == ["FRAMEMILL_SAMPEL"]


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("1500", 1500), ("10GB", 10**10), ("10 gb", 10**10), ("1.5k", 1500), ("2GiB", 2**31), ("3B", 3), (7, 7)],
)
def test_sizes(text: object, num_bytes: int) -> None:
    assert parse_size(text) == num_bytes


@given(st.text())
def test_any_text_is_a_size_or_is_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "10GB" in str(error)


def test_settings_are_known_under_their_old_names(tmp_path: Path) -> None:
    assert read_settings({"mills": "3", "actors": None}, {}, None) == {"actors": "3"}
    assert read_settings({}, {"FRAMEMILL_MILL_CPUS": "2"}, None) == {"actor_cpus": 2.0}
    assert read_settings({}, {}, write(tmp_path, "mill_gpus = 0.5")) == {"actor_gpus": 0.5}
    assert read_settings({"mills": "3", "actors": "4"}, {}, None) == {"actors": "4"}
    assert not unknown_variables({"FRAMEMILL_MILLS": "3"})
