"""GPU trouble as the doctor tells it: every cause by name, with a remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster import doctor, gpu_checks
from framemill.cluster.cli.main import main
from framemill.cluster.run import devices
from framemill.errors import DeviceLostError, ModelError
from framemill.models import cuda, probing
from framemill.models.registry import DEFAULTS
from tests.fake_gpu import fake_gpu

GOOD = "NVIDIA H200, 580.65.06, 143771 MiB, 9.0\n"
INSTALLED = {"onnxruntime-gpu": "1.31.1", "tensorrt-cu13-libs": "10.16.1.11"}


class Machine:
    """What `nvidia-smi` prints, what is installed, and how trials end: check -> (exit code, output)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.smi = (0, GOOD)
        self.installed = dict(INSTALLED)
        self.trials: dict[str, tuple[int, str, str]] = {}
        monkeypatch.setattr(gpu_checks.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(gpu_checks.subprocess, "run", self.run)
        monkeypatch.setattr(
            cuda,
            "version_of",
            lambda *names: next((self.installed[n] for n in names if n in self.installed), ""),
        )

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if command[0] == "/bin/nvidia-smi":
            return subprocess.CompletedProcess(command, self.smi[0], self.smi[1], "")
        code = command[2]
        trial = next(
            name
            for name, mark in (
                ("decoder", "decoder_problem"),
                ("cublas", "cublas"),
                (command[-1], "try_provider"),
            )
            if mark in code
        )
        good = '["", "h264 to 4096 x 4096 (7 decoders)"]\n' if trial == "decoder" else '""\n'
        exit_code, out, err = self.trials.get(trial, (0, good, ""))
        if exit_code == 999:
            raise subprocess.TimeoutExpired(command, 1)
        return subprocess.CompletedProcess(command, exit_code, out, err)

    def findings(self) -> dict[str, dict[str, str]]:
        found = list(gpu_checks.gpu_checks())
        for finding in found:
            assert finding["detail"] and bool(finding["remedy"]) == (finding["status"] != "ok"), finding
        return {finding["check"]: finding for finding in found}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_all_is_well(machine: Machine) -> None:
    found = machine.findings()
    assert {finding["status"] for finding in found.values()} == {"ok"}
    assert set(found) == {"gpu", "tensorrt", "cuda", "decoder on the GPU", "speech on the GPU"}
    assert found["gpu"]["detail"] == "NVIDIA H200, driver 580.65.06, 143771 MiB, compute capability 9.0"
    assert found["decoder on the GPU"]["detail"].endswith("as it should: h264 to 4096 x 4096 (7 decoders)")


def test_no_gpu_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpu_checks.sys, "platform", "linux")
    assert [f["status"] for f in gpu_checks.gpu_checks()] == ["ok"]


@pytest.mark.parametrize(
    ("smi", "words", "remedy"),
    [
        ((0, "NVIDIA T4, 535.1, 15360 MiB, 7.5\n"), "T4", "older ones take extra gpu-cu12"),
        (
            (0, "Tesla V100-SXM2-16GB, 580.65.06, 16384 MiB, 7.0\n"),
            "compute capability 7.0: CUDA 13 serves 7.5 and newer, not Volta",
            "constraints/gpu-cu12.txt",
        ),
        ((0, "Tesla P100-PCIE-16GB, 535.1, 16384 MiB, 6.0\n"), "6.0: CUDA 13 serves", "gpu-cu12.txt"),
        ((0, "NVIDIA K80, 470.82, 11441 MiB\n"), "K80", "update the driver to 580"),
        (
            (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"),
            "couldn't",
            "driver",
        ),
        ((0, ""), "ended with 0", "check the driver"),
    ],
)
def test_drivers(machine: Machine, smi: tuple[int, str], words: str, remedy: str) -> None:
    machine.smi = smi
    finding = machine.findings()["gpu"]
    assert finding["status"] == "warn" and words in finding["detail"] and remedy in finding["remedy"]


@pytest.mark.parametrize(
    ("capability", "status", "words"),
    [
        ("89", "ok", "Fake L4, driver 580 or newer, 23034 MiB, compute capability 8.9"),
        ("70", "warn", "compute capability 7.0: CUDA 13 serves 7.5 and newer"),
    ],
)
def test_without_nvidia_smi_the_driver_itself_is_asked(
    tmp_path: Path, capability: str, status: str, words: str
) -> None:
    code = "import json, framemill.cluster.gpu_checks as checks; print(json.dumps([*checks.gpu_checks()]))"
    environment = fake_gpu(tmp_path / "lib", "libcuda.c", FAKE_CAPABILITY=capability) | {"PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert (found["gpu"]["status"], words in found["gpu"]["detail"]) == (status, True), found
    assert "only the CPU runtime" in found["gpu use"]["detail"]
    decoder = found.get("decoder on the GPU")
    assert decoder is None or (decoder["status"] == "fail" and "decoded on the CPU: " in decoder["detail"])
    assert (decoder is not None) == bool(cuda.version_of("nvidia-dali-cuda130", "nvidia-dali-cuda120"))


def test_the_driver_tells_its_version(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 13.3.0\n"
    )
    assert cuda.driver_version(file) == "580.65.06" and cuda.driver_version(tmp_path / "nowhere") == ""


def test_an_older_nvidia_smi_is_asked_without_the_compute_capability(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = machine.run

    def older(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "compute_cap" in command[1]:
            refused = 'Field "compute_cap" is not a valid field to query.'
            return subprocess.CompletedProcess(command, 2, refused, "")
        return answered(command, **options)

    monkeypatch.setattr(gpu_checks.subprocess, "run", older)
    machine.smi = (0, "NVIDIA A100-SXM4-40GB, 470.82, 40536 MiB\n")
    finding = machine.findings()["gpu"]
    assert finding["detail"] == "NVIDIA A100-SXM4-40GB, driver 470.82, 40536 MiB"
    assert "update the driver to 580" in finding["remedy"]


def test_a_gpu_with_the_cpu_runtime(machine: Machine) -> None:
    del machine.installed["onnxruntime-gpu"]
    found = machine.findings()
    assert set(found) == {"gpu", "gpu use"} and found["gpu use"]["status"] == "warn"


def test_tensorrt_of_the_wrong_major(machine: Machine) -> None:
    machine.installed["tensorrt-cu13-libs"] = "11.0.0.5"
    finding = machine.findings()["tensorrt"]
    assert (
        finding["status"] == "fail"
        and "11.0.0.5 is installed, but ONNX Runtime links version 10" in finding["detail"]
    )
    assert "constraints/gpu-cu13-tensorrt.txt" in finding["remedy"]
    del machine.installed["tensorrt-cu13-libs"]
    assert machine.findings()["tensorrt"]["status"] == "ok"  # nothing requires it


@pytest.mark.parametrize(
    ("trial", "end", "check", "words"),
    [
        ("cuda", (0, '"libcudnn.so.9: cannot open shared object file"\n', ""), "cuda", "libcudnn.so.9"),
        (
            "tensorrt",
            (0, 'noise\n"silently absent: the session has CPU"\n', ""),
            "tensorrt",
            "silently absent",
        ),
        ("cuda", (-11, "", "Segmentation fault"), "cuda", "ended with -11: Segmentation fault"),
        ("cuda", (999, "", ""), "cuda", "no answer within"),
        (
            "decoder",
            (1, "", "ModuleNotFoundError: No module named 'cupy'"),
            "decoder on the GPU",
            "No module named 'cupy'",
        ),
        (
            "decoder",
            (0, '["libnvcuvid.so.1 cannot be loaded", ""]\n', ""),
            "decoder on the GPU",
            "frames are decoded on the CPU: libnvcuvid.so.1 cannot be loaded",
        ),
        (
            "cublas",
            (0, '"libcublas.so.12 cannot be loaded"\n', ""),
            "speech on the GPU",
            "speech runs on the CPU",
        ),
    ],
)
def test_a_library_that_lacks_is_named(
    machine: Machine, trial: str, end: tuple[int, str, str], check: str, words: str
) -> None:
    machine.trials[trial] = end
    found = machine.findings()
    assert found[check]["status"] == "fail" and words in found[check]["detail"]
    assert [name for name, finding in found.items() if finding["status"] != "ok"] == [check]


def test_the_trials_are_programs_that_run() -> None:
    """As they are typed, in a fresh interpreter: here without a GPU, so that each has something to tell."""
    (cuda_finding,) = gpu_checks.provider_check("cuda", "mend it")
    assert "not in this build of ONNX Runtime" in cuda_finding["detail"]
    (cpu_finding,) = gpu_checks.provider_check("cpu", "mend it")
    assert cpu_finding["status"] == "ok", cpu_finding
    (decoder,) = gpu_checks._tried("decoder", gpu_checks._TRY_DECODER, [], "good", "bad", "mend it")
    assert decoder["status"] == "ok" or "there is no usable GPU" in decoder["detail"]
    (cublas,) = gpu_checks._tried("speech", gpu_checks._TRY_CUBLAS, [], "good", "bad", "mend it")
    assert cublas["status"] == "ok" or "libcublas.so.12 cannot be loaded" in cublas["detail"]


@pytest.fixture
def models_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`doctor` checks nothing but models, and only those that come with packages are there."""
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    monkeypatch.setattr(doctor, "_CHECKS", ())


@pytest.mark.usefixtures("models_alone")
def test_doctor_tells_where_each_model_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--models", "--json"]) == 0
    found = {finding["check"]: finding["detail"] for finding in json.loads(capsys.readouterr().out)}
    said = found["session of silero_vad_v6"]
    assert said.startswith("cpu, fp32; 25 nodes on CPUExecutionProvider") and "measured" not in said


@pytest.mark.usefixtures("models_alone")
def test_doctor_tells_what_was_measured_of_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 3)
    found = {"threads": 3, "rows_per_second": {1: 10.0, 3: 20.0}}
    probing._record(3, DEFAULTS["vad"].sha256, found)
    assert main(["doctor", "--models", "--json"]) == 0
    said = {finding["check"]: finding["detail"] for finding in json.loads(capsys.readouterr().out)}
    assert "measured on 3 cores: 3 threads a row is fastest" in said["session of silero_vad_v6"]


def test_a_worker_leaves_when_its_device_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(devices.os, "_exit", codes.append)
    devices.leave_if_lost(ModelError("something else"))
    assert codes == []
    devices.leave_if_lost(DeviceLostError("model m failed: unspecified launch failure"))
    assert codes == [devices.DEVICE_LOST] and "unspecified launch failure" in capsys.readouterr().err
