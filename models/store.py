"""Finds the files of models: mirror folder, user cache, download; every file's digest is checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from framemill.errors import ModelError
from framemill.models.checked_files import check_file, expect
from framemill.models.registry import ModelEntry, all_entries, is_default, named_entries

if TYPE_CHECKING:
    from framemill.models.download import OnProgress


def cache_folder() -> Path:
    """Folder of downloaded and derived files; `FRAMEMILL_CACHE_DIR` moves it."""
    root = os.environ.get("FRAMEMILL_CACHE_DIR")
    if not root:
        import platformdirs

        root = platformdirs.user_cache_dir("framemill", appauthor=False)
    return Path(root)


def find(entry: ModelEntry, on_progress: OnProgress | None = None) -> Path:
    """The file or folder of a model with the digests that the entry states, downloaded if it must be.

    Who opens it by `framemill.models.checked_files` gets these bytes or an error, whatever happens meanwhile.
    Looks at the user's own path, the installed package, `FRAMEMILL_MODEL_MIRROR`, the cache, then at its
    addresses.

    Raises:
        ModelError: no place has the file, or the one that has it holds other bytes.
    """
    path = locate(entry)
    if path is None:
        return _fetch(entry, on_progress)
    return _check(entry, path)


def locate(entry: ModelEntry) -> Path | None:
    """Where the file of a model is now, unchecked, or None where it would have to be downloaded.

    Raises:
        ModelError: a place that was named does not exist.
    """
    if entry.path:
        path = Path(entry.path)
        if not path.exists():
            raise ModelError(f"model {entry.name}: {path} is gone; put it back, or add the model again")
        return path
    if entry.package_file:
        return _package_path(entry)
    if mirror := os.environ.get("FRAMEMILL_MODEL_MIRROR"):
        if not Path(mirror).is_dir():
            raise ModelError(f"FRAMEMILL_MODEL_MIRROR={mirror} is no folder; correct or unset it")
        path = Path(mirror).resolve() / entry.file_name
        if path.is_dir() if entry.files else path.is_file():
            return path
    path = cache_path(entry)
    # A folder appears file by file; until all are there it counts as absent, and the rest is fetched.
    complete = all((path / file.name).is_file() for file in entry.files) if entry.files else path.is_file()
    return path if complete else None


def files_now(entry: ModelEntry) -> list[Path]:
    """The files that make up a model where it is now, links resolved.

    Of those that a link leads to only such as have the digest that is stated: who may read the model may read
    these, and a link in a mirror must not open any file to them.

    Raises:
        ModelError: as `locate`, or a file cannot be read.
    """
    path, files = locate(entry), list[Path]()
    if path is None:
        return files
    for name, sha256 in _digests(entry):
        target = Path(os.path.realpath(path / name))
        is_plain = target == Path(os.path.realpath(path.parent)) / path.name / name
        if is_plain or (target.is_file() and check_file(target, sha256) == sha256):
            files.append(target)
    return files


def pull(entry: ModelEntry, on_progress: OnProgress | None = None) -> Path:
    """Like `find`, but a wrong file in the cache is replaced by a fresh download."""
    cached = cache_path(entry)
    if locate(entry) == cached:
        try:
            return _check(entry, cached)
        except ModelError:
            return _fetch(entry, on_progress)
    return find(entry, on_progress)


def list_models() -> list[dict[str, Any]]:
    """What is known of each model, as plain data; `path` is None where it is not on this machine.

    `state` is `ok`, `absent`, or `wrong` where a file should be there and is not; digests are not checked.
    `package` names the installed package that the file belongs to, or is None; `origin` says in short where
    the file is from, a repository, a host or a package.
    """
    rows = []
    for entry in all_entries():
        path, problem = _try(locate, entry)
        state = _status(entry, path, problem)
        rows.append(
            {
                "name": entry.name,
                "state": state,
                "status": state,  # as it was called first
                "role": entry.role,
                "is_default": is_default(entry),
                "family": entry.family,
                "licence": entry.licence,
                "licence_of_code": entry.licence_of_code,
                "trained_on": entry.trained_on,
                "research_only": list(entry.research_only),
                "commercial": entry.commercial,
                "unconfirmed": list(entry.unconfirmed),
                "sha256": entry.sha256,
                "num_bytes": entry.num_bytes,
                "batching": entry.batching,
                "urls": list(entry.urls),
                "package": entry.package_file.partition("/")[0] or None,
                "origin": _origin(entry),
                "path": str(path) if path else None,
                "problem": problem,
            }
        )
    return rows


def _origin(entry: ModelEntry) -> str:
    if not entry.urls:
        return f"package {entry.package_file.partition('/')[0]}" if entry.package_file else ""
    parts = urlsplit(entry.urls[0])
    path = parts.path.strip("/").removeprefix("media/").split("/")
    is_repository = (parts.hostname or "").endswith(("github.com", "githubusercontent.com", "huggingface.co"))
    return "/".join(path[:2]) if is_repository else parts.netloc


def verify(names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Checks the digests of the named models, or of all that are on this machine; downloads nothing.

    Returns:
        Per model: name, path (None where absent), status (`ok`, `absent`, `wrong`) and message.

    Raises:
        UsageError: a name is unknown.
    """
    entries = named_entries(list(names) or [entry.name for entry in all_entries()])
    rows = []
    for name, entry in entries.items():
        path, problem = _try(locate, entry)
        if path is not None:
            _, problem = _try(partial(_check, path=path), entry)
        status = _status(entry, path, problem)
        rows.append({"name": name, "path": str(path) if path else None, "status": status, "message": problem})
    return rows


def _status(entry: ModelEntry, path: Path | None, problem: str) -> str:
    # A package that is not installed is no more wrong than a file that was never fetched.
    if path is None and (not problem or entry.package_file):
        return "absent"
    return "wrong" if problem else "ok"


def _try(step: Callable[[ModelEntry], Path | None], entry: ModelEntry) -> tuple[Path | None, str]:
    try:
        return step(entry), ""
    except ModelError as exc:
        return None, str(exc)


def _package_path(entry: ModelEntry) -> Path:
    package, _, inner = entry.package_file.partition("/")
    spec = find_spec(package)  # finds the folder without running the package
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / inner
        if path.is_dir() if entry.files else path.is_file():
            return path
    raise ModelError(
        f"model {entry.name} is the file {entry.package_file} of an installed package, which is not there; "
        f"install {package.replace('_', '-')} at the version that the constraints name"
    )


def cache_path(entry: ModelEntry) -> Path:
    """Where a download of this model is kept."""
    suffix = "" if entry.files else ".onnx"
    return cache_folder() / "models" / f"{entry.name}-{entry.sha256[:12]}{suffix}"


def _digests(entry: ModelEntry) -> list[tuple[str, str]]:
    """Name, empty for the model itself, and digest of each of its files."""
    return [(file.name, file.sha256) for file in entry.files] or [("", entry.sha256)]


def _check(entry: ModelEntry, path: Path) -> Path:
    for name, wanted in _digests(entry):
        file = path / name
        problem = "is missing"
        if not name or file.is_file():
            if (got := check_file(file, wanted)) == wanted:
                continue
            problem = f"has sha256 {got}, wanted {wanted}"
        if entry.path:
            remedy = "add the model again"
        elif entry.package_file:
            remedy = "install the version of the package that the constraints name"
        elif path == cache_path(entry):
            remedy = f"run `framemill models pull {entry.name}`"
        else:
            remedy = "replace the file in the mirror folder, or unset FRAMEMILL_MODEL_MIRROR"
        raise ModelError(f"model {entry.name}: {file} {problem}; {remedy}")
    return path


def _fetch(entry: ModelEntry, on_progress: OnProgress | None) -> Path:
    if not entry.urls:
        raise ModelError(
            f"model {entry.name}: no file on this machine and no address; add the model again, or put "
            f"{entry.file_name} into the folder that FRAMEMILL_MODEL_MIRROR names"
        )
    from framemill.models.fetching import fetch_model  # its imports would slow down every start

    path = cache_path(entry)
    fetch_model(entry, path, on_progress)
    for name, sha256 in _digests(entry):
        expect(path / name, sha256)
    return path
