"""`framemill view` before a hostile browser."""

from __future__ import annotations

import pytest

from tests.fuzz.browser import SECRET, run_kind


@pytest.mark.slow
def test_a_hostile_browser_gets_no_traceback_and_nothing_from_outside() -> None:
    sent = 0
    for number, faults in run_kind(1, 600):
        sent += number
        assert faults == []
    assert sent == 600


@pytest.mark.slow
def test_what_stands_outside_would_be_seen_in_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of the viewer in place of the secret: what is looked for is found where it is answered."""
    assert SECRET not in "<!doctype html>"
    monkeypatch.setattr("tests.fuzz.browser.SECRET", "<!doctype html>")
    found = [fault for _, faults in run_kind(1, 200) for fault, _ in faults]
    assert found and set(found) == {"escapes"}
