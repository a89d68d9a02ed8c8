"""What goes with a release: a bill of materials, a wheel with the same bytes each time, known advisories."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from release import advisories
from release.bill_of_materials import bill, pin_sets
from release.wheel import build_wheel
from tests.test_packaging import PINS, REPOSITORY, read_pins


@pytest.mark.parametrize("name", sorted(pin_sets()))
def test_a_bill_names_every_pin_once(name: str) -> None:
    made = bill(name, pin_sets()[name])
    pins = read_pins(REPOSITORY / "constraints" / f"{name}.txt")  # some have a version for each Python
    components = made["components"]
    versions = {(component["name"], f"=={component['version']}") for component in components}
    assert versions == {(pin.name, str(pin.specifier)) for pin in pins} and len(components) == len(pins)
    references = [component["bom-ref"] for component in components]
    assert len(set(references)) == len(references)
    for component in components:
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[0-9][0-9a-z.+]*", component["purl"])
    ours = made["metadata"]["component"]["bom-ref"]
    told = {each["ref"]: each["dependsOn"] for each in made["dependencies"]}
    assert told.keys() == {ours, *references} and set(told[ours]) == set(references)
    assert all(set(needed) <= set(references) for needed in told.values())
    assert made["bomFormat"] == "CycloneDX" and made["specVersion"] == "1.6"
    assert json.dumps(made) == json.dumps(bill(name, reversed(pin_sets()[name])))


def test_a_bill_tells_licences_and_dependencies_of_what_is_installed() -> None:
    made = bill("cpu", pin_sets()["cpu"])
    starlette = next(c for c in made["components"] if c["name"] == "starlette")
    assert starlette["licenses"] in ([{"expression": "BSD-3-Clause"}], [{"license": {"name": "BSD License"}}])
    needs = next(d["dependsOn"] for d in made["dependencies"] if d["ref"] == starlette["bom-ref"])
    assert any(ref.startswith("pkg:pypi/anyio@") for ref in needs)
    unknown = bill("x", [Requirement("not-there-at-all==1.0")])["components"][0]
    assert "licenses" not in unknown and "no" in unknown["properties"][0]["value"]


def test_every_file_of_pins_has_a_bill() -> None:
    assert {path.stem for path in PINS} - pin_sets().keys() == {"bench"}


def test_without_an_auditor_nothing_passes_for_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(advisories, "find_auditor", lambda: None)
    assert advisories.main() == advisories.MISSING
    assert "nothing was checked" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1)])
def test_each_set_of_pins_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: int
) -> None:
    auditor = tmp_path / "pip-audit"
    auditor.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit {code}\n')
    auditor.chmod(0o755)
    monkeypatch.setattr(advisories, "find_auditor", lambda: str(auditor))
    assert advisories.main() == expected
    asked = (tmp_path / "asked").read_text()
    assert all(f"constraints/{name}.txt" in asked for name in pin_sets())


@pytest.mark.slow
def test_two_builds_of_the_wheel_have_the_same_bytes(tmp_path: Path) -> None:
    first = build_wheel(tmp_path / "first")
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(REPOSITORY), str(copy)], check=True)
    for name in subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines():
        if not (copy / name).is_symlink() and (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((REPOSITORY / name).read_bytes())
            (copy / name).chmod(0o600)  # another umask
            os.utime(copy / name, (1e9, 1e9))
    subprocess.run(["git", "add", "--all"], cwd=copy, check=True)
    code = "import sys; from pathlib import Path; from release.wheel import build_wheel; "
    code += "build_wheel(Path(sys.argv[1]), Path(sys.argv[2]))"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "second"), str(copy)],
        cwd=REPOSITORY,
        check=True,
        umask=0o077,
    )
    (second,) = (tmp_path / "second").glob("*.whl")
    assert first.name == second.name
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
        times = {entry.date_time for entry in wheel.infolist()}
    assert (
        "framemill/cluster/cli/main.py" in names and "framemill/models/entries/speech.toml" in names
    ) or names
    assert len(times) == 1 and not [name for name in names if name.startswith(("tests", "release", "docs"))]


def test_security_says_where_to_report_and_its_links_lead_somewhere() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text()
    assert "private vulnerability report" in text
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (REPOSITORY / target).is_file(), target
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (REPOSITORY / path).exists(), path
