"""One result folder and one report of it for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.report import Report, write_report
from tests.cluster.view.folders import make_folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tables of viewers out of the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_folder(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="session")
def report(folder: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(folder, str(tmp_path_factory.mktemp("report") / "report.html"))


@pytest.fixture(scope="session")
def report_url(report: Report) -> str:
    return Path(report.path).as_uri()
