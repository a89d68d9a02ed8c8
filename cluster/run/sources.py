"""From what a person types to a list of files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from framemill.actors.object_store import is_remote
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.run.source_files import (
    AMBIGUOUS_EXTENSIONS,
    HEAD_BYTES,
    MEDIA_EXTENSIONS,
    SourceFile,
    looks_like_media,
)
from framemill.errors import UsageError


@dataclass(frozen=True, slots=True)
class SourceList:
    """All inputs of a run.

    Attributes:
        files: each once, in the order found.
        num_skipped: files in folders that are no media.
    """

    files: tuple[SourceFile, ...]
    num_skipped: int


def list_sources(arguments: Iterable[str], leave_out: ResultPath | None = None) -> SourceList:
    """Resolves files, folders (recursive), globs and `@list.txt` (one of them a line), also in object stores.

    Args:
        arguments: as typed.
        leave_out: a folder whose files are never inputs: the results.

    Raises:
        UsageError: a list cannot be read, or an address not be used.
        SetupError: an object store does not answer, or lets us not in.
    """
    found: dict[str, SourceFile] = {}
    num_skipped = 0
    expanded = list(_expand_lists(arguments))
    addresses = [argument for argument in expanded if is_remote(argument)]
    if addresses:
        from framemill.cluster.run.remote_sources import RemoteSources

        remote = RemoteSources(addresses, leave_out)
    here = leave_out if isinstance(leave_out, Path) else None
    for argument in expanded:
        if addresses and is_remote(argument):
            files, skipped = remote.expand(argument, found)
            found.update((file.uri, file) for file in files)
            num_skipped += skipped
            continue
        for path, is_named in _expand(argument):
            absolute = os.path.abspath(path)
            if absolute in found or (here is not None and Path(absolute).is_relative_to(here)):
                continue
            if is_named or _is_media(absolute):
                found[absolute] = _look_at(absolute)
            else:
                num_skipped += 1
    return SourceList(tuple(found.values()), num_skipped)


def _expand_lists(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if not argument.startswith("@") or os.path.exists(argument):
            yield argument
            continue
        try:
            lines = Path(argument[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(
                f"the list {argument[1:]} cannot be read ({exc}): give a text file with a path a line"
            ) from exc
        yield from (line for line in lines if line.strip() and not line.startswith("#"))


def _expand(argument: str) -> Iterator[tuple[str, bool]]:
    """Paths, each with whether the user named it himself."""
    if os.path.isdir(argument):
        for folder, folders, names in os.walk(argument):
            folders.sort()
            yield from ((os.path.join(folder, name), False) for name in sorted(names))
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        for match in sorted(glob.glob(argument, recursive=True)):
            if os.path.isdir(match):
                # `videos/**` names every folder and every file in it: the files come by themselves.
                if "**" not in argument:
                    yield from _expand(match)
            else:
                yield match, False
    else:
        yield argument, True


def _is_media(path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith("."):
        return False
    extension = os.path.splitext(name)[1][1:].lower()
    is_ambiguous = extension in AMBIGUOUS_EXTENSIONS
    if extension in MEDIA_EXTENSIONS and not is_ambiguous:
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return is_ambiguous
    return looks_like_media(head, is_ambiguous)


def paths_of(uri: str) -> tuple[str, ...]:
    """Where a local file known by this text may lie: as it stands, or with escaped bytes put back."""
    plain = re.sub(r"\\x([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), uri)
    return (uri,) if plain == uri else (uri, plain)


def _look_at(path: str) -> SourceFile:
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return SourceFile(uri, path, -1, -1)
    return SourceFile(uri, path, info.st_size, info.st_mtime_ns)
