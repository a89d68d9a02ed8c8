"""The images of k8s/, the script in them, and what k8s/README.md tells to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_k8s import CPU_PINS, DOCKERFILES, K8S, PYTHON, parsed
from tests.test_packaging import EXTRAS, PROJECT, REPOSITORY, SERVES, applies, read_pins

every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    parts = (line.partition(" ") for line in text.splitlines() if line)
    return [(name, " ".join(rest.split())) for name, _, rest in parts]


@every_dockerfile
def test_dockerfiles(path: Path) -> None:
    steps = instructions(path)
    assert "://" not in path.read_text() and "index-url" not in path.read_text()
    [image] = [rest.partition("=")[2] for name, rest in steps if name == "ARG"]
    assert image == f"python:{PYTHON}-slim-trixie", "the nodes of a cluster share one Python"
    assert all(rest.split()[0] == "${PYTHON_IMAGE}" for name, rest in steps if name == "FROM")
    last = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    users = [rest for name, rest in steps[last:] if name == "USER"]
    assert users == ["10001:10001"], "the user of the pods"
    assert not any(name == "COPY" and "--from=build" not in rest for name, rest in steps[last:])
    runs = " ".join(rest for name, rest in steps if name == "RUN")
    files = re.findall(r"constraints/\S+", runs)
    assert files and all((REPOSITORY / name).is_file() for name in files)
    installs = re.findall(r"pip install [^&]+", runs)
    assert installs and all("--constraint" in line or "--requirement" in line for line in installs)


def test_the_gpu_image_resolves_nothing_and_sees_the_decoder() -> None:
    text = (K8S / "gpu.Dockerfile").read_text()
    assert "--no-deps --requirement constraints/gpu-cu13.txt" in text
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,video,utility" in text


def test_the_gpu_image_needs_no_package_that_downloads_by_itself() -> None:
    runs = " ".join(rest for name, rest in instructions(K8S / "gpu.Dockerfile") if name == "RUN")
    pins = (REPOSITORY / "constraints/gpu-cu13.txt").read_text()
    assert "tensorrt" not in runs and "tensorrt" not in pins
    assert "constraints/gpu-cu13-tensorrt.txt" in (K8S / "README.md").read_text(), "how to add it"


def test_head_and_workers_have_the_same_packages() -> None:
    gpu = {
        pin.name: pin for pin in read_pins(REPOSITORY / "constraints/gpu-cu13.txt") if applies(pin, PYTHON)
    }
    assert PYTHON in SERVES["cpu.txt"][1] and PYTHON in SERVES["gpu-cu13.txt"][1]
    shared = CPU_PINS.keys() & gpu.keys()
    assert len(shared) > 20
    assert {n: CPU_PINS[n].specifier for n in shared} == {n: gpu[n].specifier for n in shared}


def test_ray_comes_with_its_job_server() -> None:
    [ray] = [asked for asked in map(Requirement, EXTRAS["ray"]) if asked.name == "ray"]
    assert {"data", "default"} <= ray.extras, "`ray job submit` and KubeRay's probes need the dashboard"
    assert {"aiohttp", "prometheus-client", "virtualenv"} <= CPU_PINS.keys()


def test_the_build_gets_what_it_needs_and_no_more() -> None:
    allowed = {
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    links = {path.name for path in (REPOSITORY / "framemill").iterdir() if path.is_symlink()}
    assert allowed == links | {
        "framemill",
        "pyproject.toml",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        "constraints",
    }


def readme_commands() -> list[list[str]]:
    text = (K8S / "README.md").read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_readme_names_files_that_exist_and_no_other_hosts() -> None:
    files = [word for words in readme_commands() for word in words if word.startswith("k8s/")]
    assert len(files) >= 8 and all((REPOSITORY / name).exists() for name in files)
    text = (K8S / "README.md").read_text()
    assert set(re.findall(r"://([^/\s)]+)", text)) <= {"github.com", "127.0.0.1:8265"}
    listed = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    named = {name.rstrip("/") for cell in listed for name in re.findall(r"`(.*?)`", cell)}
    assert named == {path.name for path in K8S.iterdir()} - {"README.md"}


def test_readme_commands_of_ours_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = []
    for words in readme_commands():
        for start in range(1, len(words)):
            if words[start - 1 : start + 1] in (["--", "framemill"], ["-m", "framemill"]):
                ours.append(words[start + 1 :])
    assert {words[0] for words in ours} == {"extract", "status", "sql"}
    for words in ours:
        parsed(words, tmp_path, monkeypatch)
