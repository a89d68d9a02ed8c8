"""Tests that need an NVIDIA GPU: skipped where there is none, unless `FRAMEMILL_REQUIRE_GPU=1`.

`make test-gpu` sets that, so that nothing is skipped in silence on a machine that has one.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from framemill.models.cuda import find_gpus
from tests.shared import media_dir as media_dir
from tests.shared import models_dir as models_dir

IS_REQUIRED = os.environ.get("FRAMEMILL_REQUIRE_GPU", "0") not in ("", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and IS_REQUIRED:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}; and FRAMEMILL_REQUIRE_GPU is set, so that nothing may be skipped"
    return report


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    if not find_gpus():
        pytest.skip("no usable NVIDIA GPU")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
