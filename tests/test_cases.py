"""Every case of `../shared/cases` comes out right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.checking import complaints
from tests.cases.described import Case, read_cases
from tests.cases.pending import PENDING
from tests.cases.running import Outcome, run_alone, run_together
from tests.shared import SHARED

Run = Callable[[Case], Outcome]
DESCRIBED = SHARED / "cases" / "cases.json"
CASES = read_cases(DESCRIBED) if DESCRIBED.is_file() else ()


def marked(case: Case) -> object:
    marks = [pytest.mark.media]
    if case.name in PENDING:
        marks.append(pytest.mark.xfail(strict=True, reason=f"{case.kind} comes out wrong still"))
    return pytest.param(case, id=case.name, marks=marks)


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a case together with those that were selected beside it and have the same command."""
    chosen = [case for item in request.session.items if isinstance(case := _params(item).get("case"), Case)]
    done: dict[str, Outcome] = {}

    def outcome(case: Case) -> Outcome:
        if case.name not in done:
            work = tmp_path_factory.mktemp("case")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
                if case.is_hostile:
                    done[case.name] = run_alone(case, DESCRIBED.parent, work)
                else:
                    done.update(run_together(alike(case, chosen), DESCRIBED.parent, work))
        return done[case.name]

    return outcome


def _params(item: pytest.Item) -> dict[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


def alike(case: Case, chosen: list[Case]) -> list[Case]:
    if case.names:
        return [case]
    return [one for one in chosen if one.command == case.command and not one.is_hostile and not one.names]


@pytest.mark.skipif(not CASES, reason="no real cases at ../shared/cases")
@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_the_case_comes_out_right(case: Case, run: Run) -> None:
    wrong = complaints(case, run(case))
    assert not wrong, "\n".join([*wrong, f"({case.why})"])
