"""Builds the wheel so that the same commit gives the same bytes: python -m release.wheel FOLDER

A wheel holds times and permissions of files, which checkouts differ in. Here the files that git knows are
copied with the same permissions, and all times are that of the commit, or SOURCE_DATE_EPOCH where it is set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def build_wheel(folder: Path, repository: Path = REPOSITORY) -> Path:
    """Builds the wheel of what git tracks, as it is in the working tree, into a folder; returns its path.

    Raises:
        subprocess.CalledProcessError: git or setuptools failed; what they said stands on standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    moment = os.environ.get("SOURCE_DATE_EPOCH") or _git(repository, "log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory(prefix="wheel-") as scratch:
        tree = Path(scratch) / "tree"
        for name in filter(None, _git(repository, "ls-files", "-z").split("\0")):
            _copy(repository / name, tree / name)
        made = Path(scratch) / "made"
        made.mkdir()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": moment.strip(), "PYTHONPATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, str(made)],
            cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True, umask=0o022,
        )  # fmt: skip
        name = done.stdout.splitlines()[-1]
        shutil.copyfile(made / name, folder / name)
    return folder / name


def _copy(source: Path, target: Path) -> None:
    if not source.is_symlink() and not source.is_file():
        return  # removed, or a repository within this one
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    shutil.copyfile(source, target, follow_symlinks=False)
    if not target.is_symlink():
        target.chmod(0o644)


def _git(repository: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *words], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> int:
    """Builds twice, and fails where the bytes differ."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    path = build_wheel(folder)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory(prefix="wheel-") as scratch:
        again = hashlib.sha256(build_wheel(Path(scratch)).read_bytes()).hexdigest()
    print(f"{digest}  {path}")
    if again != digest:
        print(f"a second build has other bytes ({again}): the wheel is not reproducible", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
