"""What a report holds, what it costs, and where it does not go."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view import report as view_report
from framemill.cluster.view.report import MODULES, Report, write_report
from framemill.errors import UsageError
from tests.cluster.view.folders import SAMPLE


def held(path: Path | str, what: str) -> Any:
    found = re.search(
        rf'<script type="application/json" id="{what}">(.*?)</script>', Path(path).read_text(), re.S
    )
    assert found is not None
    return json.loads(found[1])


def test_a_report_tells_what_failed_what_ran_and_what_it_cost(report: Report) -> None:
    document = held(report.path, "document")
    assert document["totals"]["files"] == 4
    assert document["totals"]["failed"] == 1
    (failure,) = document["failures"]
    assert failure["uri"].endswith("broken.mp4")
    assert failure["message"]
    assert {name for name, _ in document["costs"]} >= {"frames", "scenes"}
    assert document["histograms"]["Codec"] == [["h264", 2], ["vp8", 1]]
    assert sum(number for _, number in document["histograms"]["Length of shots"]) == report.num_shots
    kinds = {lane["kind"] for file in document["files"] for lane in file["lanes"]}
    assert kinds == {"loudness", "face", "object", "text", "beat", "highlight"}


def test_a_shot_takes_less_than_eight_kilobytes(report: Report) -> None:
    """Apart from the program: the same for a report of one shot and of thousands."""
    program = sum(len(text) for text in static_files().values())
    document = held(report.path, "document")
    others = len(document["people"]) * 5 + len(document["twins"]) * 4  # pictures that are of no shot
    assert (report.num_bytes - program) / (report.num_shots + others) < 8_000


def static_files() -> dict[str, str]:
    folder = Path(view_report.__file__).with_name("static")
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_every_module_is_in_the_page_and_lies_beside_it() -> None:
    modules = {name for name in static_files() if name.endswith(".js")}
    assert {f"{name}.js" for name in MODULES} == modules - {"view.js"}  # which begins the pages of the viewer
    imported = {
        name for text in static_files().values() for name in re.findall(r'from "\./([a-z]+)\.js"', text)
    }
    assert imported == {*MODULES} - {"report"}


def test_many_shots_have_their_pictures_in_a_folder(
    folder: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_report, "MAX_EMBEDDED", 3)
    done = write_report(folder, str(tmp_path / "many.html"))
    assert done.folder == str(tmp_path / "many_pictures")
    pictures = held(done.path, "pictures")
    assert all((tmp_path / sheet["name"]).is_file() for sheet in pictures["sheets"])
    document = held(done.path, "document")
    sample = next(file for file in document["files"] if file["name"] == SAMPLE)
    sheet, x, y, width, height = pictures["stills"][sample["shots"][0]["still"]]
    assert (width, height) == (240, 135)
    wide, high = pictures["sheets"][sheet]["size"]
    assert x + width <= wide
    assert y + height <= high


def test_a_file_that_is_gone_has_no_pictures_and_the_report_says_so(folder: Dataset, tmp_path: Path) -> None:
    path = next(Path(uri) for uri in folder.state.sources if uri.endswith(SAMPLE))
    aside = path.rename(path.with_suffix(".aside"))
    try:
        done = write_report(folder, str(tmp_path / "report.html"))
    finally:
        aside.rename(path)
    assert "is not there any more" in done.problems[str(path)]
    assert str(path) in held(done.path, "document")["notices"][0]
    assert None in held(done.path, "pictures")["stills"]


@pytest.mark.parametrize(
    ("name", "words"), [("report.txt", "must end in .html"), ("no/where.html", "make it first")]
)
def test_a_wrong_path_is_refused(folder: Dataset, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_report(folder, str(tmp_path / name))


def test_the_command_prints_the_path_of_the_page(
    folder: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    assert main(["report", str(folder.root), "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{target}\n"
    assert "shots of 3 files" in err
    assert target.read_text().startswith("<!doctype html>")
