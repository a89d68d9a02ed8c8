"""What pyproject.toml, the pins and the Makefile promise."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from framemill.cluster import doctor

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PINS = sorted((REPOSITORY / "constraints").glob("*.txt"))
# Per file of pins, the extras that it serves, and the Python versions that may use it.
SERVES = {
    "cpu.txt": (("cpu", "cloud", "dali", "dev", "edit", "ray"), ("3.11", "3.12", "3.13")),
    "gpu-cu13.txt": (("gpu",), ("3.11",)),
    "gpu-cu12.txt": (("gpu-cu12",), ("3.11",)),
}
# Files of pins that go beside another one of these: with the extra that each adds.
ADDS = {
    "gpu-cu13-tensorrt.txt": ("gpu-cu13.txt", "tensorrt"),
    "gpu-cu12-tensorrt.txt": ("gpu-cu12.txt", "tensorrt-cu12"),
}

MAKE_TARGETS = re.findall(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)[0].split()


def read_pins(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in path.read_text().splitlines() if line]


def applies(requirement: Requirement, python: str) -> bool:
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.9"}
    environment |= {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_pins_are_exact_versions_and_name_no_place(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; .+)?", line), line
        assert "://" not in line


def test_every_file_of_pins_is_known() -> None:
    assert {path.name for path in PINS} == {*SERVES, *ADDS, "bench.txt"}


@pytest.mark.parametrize(
    ("name", "extras", "python"),
    [(name, extras, python) for name, (extras, pythons) in SERVES.items() for python in pythons],
)
def test_pins_satisfy_what_the_project_asks(name: str, extras: tuple[str, ...], python: str) -> None:
    pins = {pin.name: pin for pin in read_pins(REPOSITORY / "constraints" / name) if applies(pin, python)}
    asked = [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in EXTRAS[extra])]
    for requirement in map(Requirement, asked):
        assert applies(requirement, python)
        pin = pins[requirement.name]
        version = next(iter(pin.specifier)).version
        assert version in requirement.specifier, f"{pin} does not satisfy {requirement}"


@pytest.mark.parametrize("name", ADDS)
def test_tensorrt_has_pins_of_its_own(name: str) -> None:
    """Its package downloads while it installs, so that no other set may ask for it."""
    beside, extra = ADDS[name]
    pins = {pin.name: pin for pin in read_pins(REPOSITORY / "constraints" / name)}
    asked = {item.name: item for item in map(Requirement, EXTRAS[extra])}
    assert pins.keys() == asked.keys() and all(name.startswith("tensorrt") for name in pins)
    for name, pin in pins.items():
        assert next(iter(pin.specifier)).version in asked[name].specifier
    others = [pin.name for path in PINS if path.name not in ADDS for pin in read_pins(path)]
    asked_elsewhere = [
        item for other, items in EXTRAS.items() if other not in dict(ADDS.values()).values() for item in items
    ]
    assert not [name for name in (*others, *asked_elsewhere) if name.startswith("tensorrt")]
    assert (REPOSITORY / "constraints" / beside).is_file()


def test_one_runtime_and_one_opencv_in_each_set() -> None:
    for path in PINS:
        names = {pin.name for pin in read_pins(path)}
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names, path
        assert "opencv-python" not in names, path
    gpu = {pin.name for pin in read_pins(REPOSITORY / "constraints" / "gpu-cu13.txt")}
    assert {"onnxruntime-gpu", "faster-whisper"} <= gpu


def test_the_licence_is_the_whole_standard_text() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    (file,) = PROJECT["project"]["license-files"]
    digest = hashlib.sha256((REPOSITORY / file).read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_console_script_leads_to_a_function() -> None:
    module, _, function = PROJECT["project"]["scripts"]["framemill"].partition(":")
    tree = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_doctor_knows_the_dependencies_and_the_python_range() -> None:
    names = {Requirement(item).name for item in PROJECT["project"]["dependencies"]}
    assert set(doctor.REQUIRED) == names
    (low, high) = doctor.PYTHON_RANGE
    assert PROJECT["project"]["requires-python"] == f">={low[0]}.{low[1]},<{high[0]}.{high[1]}"


@pytest.mark.parametrize(
    "module", ["framemill", "framemill.cluster.extraction", "framemill.cluster.extraction_run"]
)
def test_the_api_and_the_supervisor_import_nothing_heavy(module: str) -> None:
    """The supervisor imports what is heavy after it started its worker process, which does so by itself."""
    code = f"import {module}, sys; print(*{{'numpy', 'pyarrow', 'av', 'duckdb', 'click'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_demo_takes_videos_or_renders_a_sample() -> None:
    def dry_run(*arguments: str) -> str:
        command = ["make", "--dry-run", "--always-make", "demo", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "benchmarks.sample_clip demo/sample.mp4" in dry_run()
    given = dry_run("VIDEOS=a.mp4 'my clip.mp4'")
    assert "sample_clip" not in given
    assert "extract a.mp4 'my clip.mp4' -o demo/out" in given
