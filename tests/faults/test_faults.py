"""Each kind of fault at every call of a run of one clip; `make faults` does the same with other runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cases import Expected, Scenario, miss, misses, undisturbed
from tests.faults.seam import EFFECTIVE, EVERY, KINDS, Call, Fault, applies

ROLES = ("supervisor", "worker")
LOOKS = ("stat", "lstat")


@pytest.fixture(scope="module")
def expected(scenario: Scenario) -> Expected:
    found = undisturbed(scenario)
    assert min(len(found.calls[role]) for role in ROLES) > 20
    return found


@pytest.mark.parametrize("role", ROLES)
def test_an_input_output_error_at_any_call_costs_nothing_but_a_second_run(
    scenario: Scenario, expected: Expected, role: str
) -> None:
    # Reads and writes; `make faults` has looks at names too.
    faults = expected.faults(["input/output error"], role)
    assert misses(scenario, expected, [each for each in faults if each[1].name not in LOOKS]) == []


@pytest.mark.parametrize("role", ROLES)
def test_so_does_a_disk_that_is_full_from_any_call_on(
    scenario: Scenario, expected: Expected, role: str
) -> None:
    assert misses(scenario, expected, expected.faults(["no space"], role)) == []


@pytest.mark.parametrize("role", ROLES)
def test_so_does_kill_9_in_the_middle_of_any_write(scenario: Scenario, expected: Expected, role: str) -> None:
    assert misses(scenario, expected, expected.faults(["torn write"], role)) == []


@pytest.mark.parametrize("role", ROLES)
def test_so_does_kill_9_before_any_call(scenario: Scenario, expected: Expected, role: str) -> None:
    # Before a call that only reads, a disk is as before the next that does not: `make faults` has those too.
    faults = [(fault, call) for fault, call in expected.faults(["crash"], role) if call.name in EFFECTIVE]
    assert misses(scenario, expected, faults) == []


@pytest.mark.parametrize("role", ROLES)
def test_storage_that_is_slow_at_every_call_changes_nothing(
    scenario: Scenario, expected: Expected, role: str
) -> None:
    assert miss(scenario, expected, Fault(role, EVERY, "delay"), Call(role, "every", "")) == ""


def test_kinds_happen_to_the_calls_that_they_can_happen_to() -> None:
    def kinds(name: str) -> list[str]:
        return [kind for kind in KINDS if applies(kind, Call("worker", name, "out/x"))]

    assert kinds("read") == ["input/output error", "delay", "crash"]
    assert kinds("write") == ["no space", "input/output error", "torn write", "delay", "crash"]
    assert kinds("store put") == ["input/output error", "delay", "crash", "lost answer"]


def test_rows_that_differ_are_a_miss(scenario: Scenario, expected: Expected) -> None:
    wrong = Expected({**expected.tables, "frames": []}, expected.calls)
    fault, call = expected.faults(["delay"])[0]
    assert "other rows than undisturbed in frames" in miss(scenario, wrong, fault, call)


def test_a_file_that_no_commit_names_is_a_miss(
    scenario: Scenario, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, call = expected.faults(["delay"])[1]
    monkeypatch.setattr("tests.faults.cases.tables_in", _with_leftover)
    assert "left.tmp" in miss(scenario, expected, fault, call)


def _with_leftover(place: object) -> object:
    from tests.faults.cases import Place, leftovers

    assert isinstance(place, Place)
    (Path(place.out) / "left.tmp").touch()
    assert not leftovers(place.out), leftovers(place.out)
    return {}
