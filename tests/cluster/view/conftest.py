"""One result folder and one report of it for all tests of pages."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.report import Report, write_report
from framemill.cluster.view.server import open_viewer
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


@dataclass(frozen=True)
class Viewed:
    """A result folder of one's own, that may be changed, and the address of its viewer."""

    dataset: Dataset
    url: str


@pytest.fixture(scope="module")
def viewed(folder: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    root = tmp_path_factory.mktemp("viewed") / "out"
    shutil.copytree(str(folder.root), root)
    with serving(root) as viewed:
        yield viewed


@contextmanager
def serving(root: Path) -> Iterator[Viewed]:
    """Serves a folder on a thread, without handling of signals, once its table of shots is there."""
    viewer = open_viewer(Dataset.open(root, create=False))
    server = uvicorn.Server(uvicorn.Config(viewer._pages, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [viewer._socket]})
    thread.start()
    try:
        viewer._folder.wait(30)
        yield Viewed(Dataset.open(root, create=False), viewer.url)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        viewer._socket.close()
        viewer._folder.close()
