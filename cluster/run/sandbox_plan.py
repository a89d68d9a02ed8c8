"""What a run lets those reach that open its media, told before they begin; see `cluster.run.sandbox`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from framemill.actors.object_store import is_remote
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.planning import OpsPlan
from framemill.cluster.run.sandbox import is_above, require_whole
from framemill.cluster.run.source_files import SourceFiles
from framemill.errors import ModelError, UsageError
from framemill.models.registry import resolve
from framemill.models.store import files_now
from framemill.ops import OPS

# Files that are named each by itself: beyond, the folders that they lie in are.
MOST_FILES = 10_000
ONE_BY_ONE = "files are asked for one by one: all may be read but what is hidden in the home folder"
PERHAPS_REMOTE = "files are asked for one by one, and some may lie in an object store"
REMOTE = "sources or results lie in an object store"
ON_RAY = "an actor shares its process with Ray, which needs them"


def plan_sandbox(request: ExtractRequest, plan: OpsPlan, files: SourceFiles, root: ResultPath) -> Sandbox:
    """What the worker processes of a run may reach.

    Args:
        root: the result folder, which is there.

    Raises:
        SetupError: the sandbox is to be strict, and the run needs what it takes away.
    """
    if request.sandbox == "off":
        return Sandbox()
    reads, is_any_remote = _of_sources(request.sources, files)
    opened = {"network": REMOTE} if is_any_remote or not isinstance(root, Path) else {}
    writes = _allowed(request)
    if isinstance(root, Path):
        writes.append(os.fsencode(root))
        if is_above(os.path.realpath(os.fsencode(root)), _home()):
            opened["writes"] = "the result folder holds the home folder"
    if request.profile:
        profile = Path(request.profile).absolute()
        with contextlib.suppress(OSError):  # whoever writes it says so
            profile.touch()
        writes.append(os.fsencode(profile))
    require_whole(request.sandbox, opened)
    return Sandbox(
        mode=request.sandbox,
        reads=tuple(dict.fromkeys([*reads, *_of_operations(request, plan)])),
        writes=tuple(writes),
        open=opened,
    )


def sandbox_in_memory(request: ExtractRequest, plan: OpsPlan, root: ResultPath) -> Sandbox:
    """The same for files that nobody can name before they are asked for; `root` is for what passes through.

    Raises:
        SetupError: the sandbox is to be strict.
    """
    if request.sandbox == "off":
        return Sandbox()
    opened = {"reads": ONE_BY_ONE, "network": PERHAPS_REMOTE}
    require_whole(request.sandbox, opened)
    return Sandbox(
        mode=request.sandbox,
        reads=(b"/", *_of_operations(request, plan)),
        writes=(*_allowed(request), os.fsencode(str(root))),
        open=opened,
    )


def sandbox_on_ray(request: ExtractRequest) -> Sandbox:
    """The same for actors of Ray, in whose processes others work, too.

    Raises:
        SetupError: the sandbox is to be strict.
    """
    if request.sandbox == "off":
        return Sandbox()
    opened = dict.fromkeys(("network", "reads", "writes", "limits"), ON_RAY)
    require_whole(request.sandbox, {"privileges": "", "calls": "", **opened})
    return Sandbox(mode=request.sandbox, open=opened)


def plan_opening(mode: str, paths: Iterable[str], writes: Iterable[ResultPath] = ()) -> Sandbox:
    """The same for processes that open these files, or addresses in a store, for a command beside runs.

    Args:
        mode: auto, strict or off. writes: folders that they write into.

    Raises:
        SetupError: the sandbox is to be strict.
    """
    if mode == "off":
        return Sandbox()
    paths, writes = set(paths), list(writes)
    local = [path for path in paths if not is_remote(path)]
    places = [os.fsencode(place) for place in writes if isinstance(place, Path)]
    opened = {} if (len(local), len(places)) == (len(paths), len(writes)) else {"network": REMOTE}
    require_whole(mode, opened)
    reads = _each_or_folders([os.path.realpath(path) for path in local if "\0" not in path])
    return Sandbox(mode=mode, reads=tuple(map(os.fsencode, reads)), writes=tuple(places), open=opened)


def _each_or_folders(paths: list[str]) -> list[str]:
    if len(paths) > MOST_FILES:
        paths = [os.path.dirname(path) for path in paths]
    return list(dict.fromkeys(paths))


def _of_sources(arguments: Iterable[str], files: SourceFiles) -> tuple[list[bytes], bool]:
    """The folders that were named, all else by file; and whether something lies in an object store.

    A link in a folder is followed: it leads to where the folder's own rule may not.
    """
    folders = [os.path.abspath(path) for path in arguments if not is_remote(path) and os.path.isdir(path)]
    folders = [path for path in folders if not is_above(os.path.realpath(os.fsencode(path)), _home())]
    inside = tuple(path.rstrip(os.sep) + os.sep for path in folders)
    paths, is_any_remote = [], False
    for file in files:
        if is_remote(file.path):
            is_any_remote = True
        elif "\0" not in file.path and (not file.path.startswith(inside) or os.path.islink(file.path)):
            paths.append(os.path.realpath(file.path))
    found = dict.fromkeys([*folders, *_each_or_folders(paths)])
    return [os.fsencode(path) for path in found], is_any_remote


def _of_operations(request: ExtractRequest, plan: OpsPlan) -> Iterator[bytes]:
    """Models that lie where a person says, and what options of operations that are not ours name.

    Of ours, what an option names is read when the run is planned.
    """
    for role in sorted({role for op in plan.ops.values() for role in op.key["models"]}):
        with contextlib.suppress(ModelError, UsageError):  # whoever opens it says what is wrong
            yield from map(os.fsencode, files_now(resolve(role, request.models.get(role, ""))))
    for options in [op.options for name, op in plan.ops.items() if name not in OPS]:
        for text in _texts(options):
            with contextlib.suppress(OSError, ValueError):  # most texts are no paths
                path = Path(text.removeprefix("@")).expanduser().absolute()
                if path.exists():
                    yield os.fsencode(path)


def _texts(values: Mapping[str, Any]) -> Iterator[str]:
    for value in values.values():
        each = value if isinstance(value, list | tuple) else [value]
        yield from (text for text in each if isinstance(text, str) and text)


def _allowed(request: ExtractRequest) -> list[bytes]:
    return [os.fsencode(Path(path).expanduser().absolute()) for path in request.sandbox_allow]


def _home() -> bytes:
    return os.path.realpath(os.fsencode(os.path.expanduser("~")))
