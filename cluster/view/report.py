"""`write_report`: a result folder as one page that needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.single_files import check_path, write_whole
from framemill.cluster.view.document import choose_sources, plan_document, shown_sources
from framemill.cluster.view.sheets import write_sheets
from framemill.cluster.view.source_rows import SourceRows
from framemill.cluster.view.stills import Stills

ENDINGS = (".html", ".htm")
# Beyond so many shots pictures go into a folder beside the page, which would grow too large to open.
MAX_EMBEDDED = 2_000
# In the order in which each is imported by those after it.
MODULES = (
    *("dom", "times", "data", "search", "pictures", "timeline", "player"),
    *("shots", "files", "lists", "overview", "tray", "app", "report"),
)
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page draws itself with the script in it: allow scripts for it.</noscript>
<script type="application/json" id="document">{document}</script>
<script type="application/json" id="pictures">{pictures}</script>
<script type="module">{script}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        path: of the page. folder: of its pictures; "" where the page holds them.
        num_files, num_shots: that are shown. num_left_out: files for which there was no room.
        num_bytes: of the page. problems: file -> why it has no pictures.
    """

    path: str
    folder: str
    num_files: int
    num_shots: int
    num_left_out: int
    num_bytes: int
    problems: dict[str, str]


def write_report(dataset: Dataset, path: str) -> Report:
    """Writes a page that shows the files, shots, words, people and runs of a result folder.

    Pictures are those that were kept, or else decoded from the files where these still lie. Up to
    `MAX_EMBEDDED` shots it is one file; beyond that sheets of pictures lie in `NAME_pictures` beside it.

    Args:
        path: of the page, ending in one of `ENDINGS`; what is there is replaced.

    Raises:
        UsageError: as `check_path`, or the page or its pictures cannot be written.
        DatasetError: a table cannot be read.
    """
    target = check_path(path, ENDINGS, "the report")
    sources = choose_sources(dataset, SourceRows(dataset))
    rows = SourceRows(dataset, sources)
    stills = Stills(dataset)
    document = plan_document(dataset, stills, rows, sources)
    num_shots = document["totals"]["shots"]
    pictures = stills.make(rows)
    left_out = len(shown_sources(dataset)) - len(sources)
    document["notices"] = _notices(left_out, stills.problems)
    folder = ""
    held: dict[str, Any]
    if num_shots <= MAX_EMBEDDED:
        held = {"stills": [one and base64.b64encode(one).decode() for one in pictures]}
    else:
        folder = f"{target.stem}_pictures"
        held = write_sheets(target.parent / folder, pictures)
    page = render_page(document, held).encode()
    write_whole(target, page, "the report")
    return Report(
        path=str(target),
        folder=folder and str(target.parent / folder),
        num_files=len(sources),
        num_shots=num_shots,
        num_left_out=left_out,
        num_bytes=len(page),
        problems=stills.problems,
    )


def render_page(document: dict[str, Any], pictures: dict[str, Any]) -> str:
    """The page as text; nothing of the data can end the element that holds it, or run."""
    static = files("framemill.cluster.view") / "static"
    style = (static / "page.css").read_text("utf-8")
    script = join_modules({name: (static / f"{name}.js").read_text("utf-8") for name in MODULES})
    from_folder = "" if "sheets" not in pictures else " file:"
    policy = (
        f"default-src 'none'; script-src {_source_of(script)}; style-src {_source_of(style)}; "
        f"img-src data:{from_folder}; media-src file:; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=escape(document["title"]),
        style=style,
        script=script,
        document=_as_json(document),
        pictures=_as_json(pictures),
    )


def join_modules(modules: dict[str, str]) -> str:
    """Modules as one: a page from a file may not import others. All their names share one scope then."""
    return "".join(re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.M) for text in modules.values())


def _source_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _as_json(value: Any) -> str:
    """ASCII without `<`, so that no text of a file ends the element around it, whatever its encoding."""
    return json.dumps(value, separators=(",", ":"), default=str).replace("<", "\\u003c")


def _notices(left_out: int, problems: dict[str, str]) -> list[str]:
    notices = []
    if left_out:
        notices.append(f"{left_out} more files are in the folder than a page has room for.")
    if problems:
        path, why = next(iter(problems.items()))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        notices.append(f"No pictures of {path}{more}: {why}.")
    return notices
