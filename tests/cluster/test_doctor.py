"""The doctor: every check finds what is wrong and says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framemill.cluster import doctor, machine
from framemill.cluster.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]


def by_check(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding["check"]: finding for finding in findings}


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed distributions, as the checks see them."""
    installed = {name: "1.0" for name in (*doctor.REQUIRED, "onnxruntime")}
    monkeypatch.setattr(doctor, "_version", installed.get)
    return installed


def test_this_machine_is_told_in_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    findings = doctor.run_checks()
    for finding in findings:
        assert set(finding) == {"check", "status", "detail", "remedy"}
        assert finding["status"] in ("ok", "warn", "fail")
        assert finding["detail"]
        assert bool(finding["remedy"]) == (finding["status"] != "ok"), finding
    found = by_check(findings)
    for check in ("python", "numpy", "providers", "ffmpeg in PyAV", "own packages", "cores", "cache folder"):
        assert found[check]["status"] == "ok", found[check]
    assert "CPUExecutionProvider" in found["providers"]["detail"]
    assert "libavcodec" in found["ffmpeg in PyAV"]["detail"]
    assert {f"model {name}" for name in ("yolox_nano", "silero_vad_v6")} <= set(found)


def test_two_runtimes_at_once_fail(versions: dict[str, str]) -> None:
    versions["onnxruntime-gpu"] = "1.31.1"
    finding = by_check(list(doctor._onnxruntime()))["onnxruntime"]
    assert finding["status"] == "fail"
    assert "overwrite" in finding["detail"]
    assert "uninstall" in finding["remedy"]


def test_no_runtime_fails(versions: dict[str, str]) -> None:
    del versions["onnxruntime"]
    assert [f["status"] for f in doctor._onnxruntime()] == ["fail"]


def test_a_missing_package_fails_and_ray_does_not(versions: dict[str, str]) -> None:
    del versions["duckdb"]
    assert {f["check"] for f in doctor._packages() if f["status"] == "fail"} == {"duckdb"}
    assert by_check(list(doctor._packages()))["ray"]["status"] == "ok"


def test_two_opencvs_are_told(versions: dict[str, str]) -> None:
    assert list(doctor._opencv()) == []
    versions["opencv-python"] = "5"
    assert [f["status"] for f in doctor._opencv()] == ["warn"]


def test_a_library_that_crashes_on_import_fails_alone() -> None:
    findings = list(doctor._imported("it", "import os; os.abort()"))
    assert [f["status"] for f in findings] == ["fail"]
    assert "-6" in findings[0]["detail"]


@pytest.mark.parametrize("with_init", [True, False])
def test_a_folder_that_shadows_ours_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_init: bool
) -> None:
    shadow = tmp_path / "framemill"
    shadow.mkdir()
    if with_init:
        (shadow / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY) if with_init else "")
    monkeypatch.chdir(tmp_path)
    findings = by_check(list(doctor._own_packages()))
    assert findings["package framemill"]["status"] == "fail"
    assert str(shadow) in findings["package framemill"]["detail"]
    assert "own packages" not in findings


def test_the_packages_of_this_repository_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert [(f["check"], f["status"]) for f in doctor._own_packages()] == [("own packages", "ok")]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "4294967296\n"}, (1.5, 4294967296)),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None)),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "1073741824",
            },
            (0.5, 1 << 30),
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_what_a_container_grants(
    tmp_path: Path, files: dict[str, str], expected: tuple[float | None, int | None]
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert machine.cgroup_limits(tmp_path) == expected


def test_an_unusable_cache_folder_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    finding = next(iter(doctor._cache()))
    assert (finding["status"], finding["remedy"]) == ("fail", "set FRAMEMILL_CACHE_DIR to another")


def test_a_misspelt_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_SAMPEL", "all")
    assert [f["check"] for f in doctor._environment()] == ["variable FRAMEMILL_SAMPEL"]


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken() -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr(doctor, "_CHECKS", (_broken, doctor._python))
    assert [(f["check"], f["status"]) for f in doctor.run_checks()] == [("broken", "fail"), ("python", "ok")]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 5)])
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str, code: int
) -> None:
    finding = {"check": "python", "status": status, "detail": "here", "remedy": "mend it"}
    monkeypatch.setattr(doctor, "run_checks", lambda with_models: [finding])
    assert main(["doctor"]) == code
    assert "mend it" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [finding]
    assert main(["doctor", "-q"]) == code
    assert ("mend it" in capsys.readouterr().out) == (status != "ok")


def test_models_that_nobody_fetched_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FRAMEMILL_MODEL_MIRROR", "FRAMEMILL_CACHE_DIR", "FRAMEMILL_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    findings = list(doctor._models())
    monkeypatch.setattr(doctor, "run_checks", lambda with_models: findings)
    assert main(["doctor"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    absent = sum(finding["detail"].startswith(doctor.ABSENT) for finding in findings)
    assert absent > 20 and line.startswith("models\t") and f"{absent} optional ones" in line
    assert main(["doctor", "-v"]) == 0
    assert "framemill models pull yolox_nano" in capsys.readouterr().out
