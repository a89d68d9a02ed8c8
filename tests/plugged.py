"""The operation of docs/adding-an-operation.md in a folder of a user's, and the console script run there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.extraction import PROJECT

PAGE = (PROJECT / "docs" / "adding-an-operation.md").read_text(encoding="utf-8")
SCRIPT = str(Path(sys.executable).with_name("framemill"))


def blocks(title: str, language: str) -> list[str]:
    """The blocks of code in a section of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found, title
    return re.findall(rf"^```{language}\n(.*?)^```$", found[1], flags=re.MULTILINE | re.DOTALL)


def example() -> str:
    """The module `darkness`."""
    (code,) = blocks("An example", "python")
    return code


def run(
    folder: Path, *line: Path | str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command in a folder, in which Framemill is found as if it were installed."""
    return subprocess.run(
        [str(word) for word in line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(
    folder: Path, *line: Path | str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same, and it must end well."""
    done = run(folder, *line, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
