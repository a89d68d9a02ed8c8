"""From what a person types to a list of files."""

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from framemill.actors.limits import SUBTITLE_ENDINGS
from framemill.actors.object_store import is_remote
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.run.source_files import (
    AMBIGUOUS_EXTENSIONS,
    HEAD_BYTES,
    MEDIA_EXTENSIONS,
    SourceFile,
    SourceFiles,
    inside_output,
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

    files: SourceFiles
    num_skipped: int


def list_sources(
    arguments: Iterable[str], leave_out: ResultPath | None = None, with_subtitles: bool = False
) -> SourceList:
    """Resolves files, folders (recursive), globs and `@list.txt` (one of them a line), also in object stores.

    Args:
        arguments: as typed.
        leave_out: a folder whose files are never inputs: the results. It may lie in a folder of sources.
        with_subtitles: whether files of subtitles alone are taken in folders and by any glob; else only where
            they, or a glob with their ending, are named.

    Raises:
        UsageError: a list cannot be read, or an address not be used; or an argument names what lies in
            `leave_out`.
        SetupError: an object store does not answer, or lets us not in.
    """
    found = SourceFiles()
    num_skipped = 0
    expanded = list(_expand_lists(arguments))
    addresses = [argument for argument in expanded if is_remote(argument)]
    if addresses:
        from framemill.cluster.run.remote_sources import RemoteSources

        remote = RemoteSources(addresses, leave_out, with_subtitles)
    here = leave_out if isinstance(leave_out, Path) else None
    inside = f"{here}{os.sep}"
    true_here = os.path.realpath(here or os.curdir)
    for argument in expanded:
        if addresses and is_remote(argument):
            num_skipped += remote.expand(argument, found)
            continue
        if here is not None and "\0" not in argument and _base(argument).is_relative_to(true_here):
            raise inside_output(os.path.abspath(argument), here)
        for path, is_named in _expand(argument):
            absolute = os.path.abspath(path)
            uri = uri_of(absolute)
            if found.has(uri) or (here is not None and absolute.startswith(inside)):
                continue
            if is_named or _is_media(absolute, with_subtitles or argument.lower().endswith(SUBTITLE_ENDINGS)):
                found.add(_look_at(uri, absolute))
            else:
                num_skipped += 1
    found.close()
    return SourceList(found, num_skipped)


def place_of(uri: str) -> str:
    """The path or address of the one file that a text names: an absolute path, file://, s3:// or gs://.

    Raises:
        UsageError: it is a relative path, or names a file of another machine.
    """
    path = uri
    if uri.startswith("file://"):
        host, slash, rest = uri.removeprefix("file://").partition("/")
        if host not in ("", "localhost"):
            raise UsageError(f"{uri!r} names a file of the machine {host!r}: give file:///PATH")
        path = unquote(slash + rest)
    elif is_remote(uri):
        return uri
    if not os.path.isabs(path):
        raise UsageError(
            f"{uri!r} is a relative path, which other machines cannot find: give an absolute one, or an "
            "address with file://, s3:// or gs://"
        )
    return os.path.abspath(path)


def find_source(uri: str) -> SourceFile:
    """The one file that a text names, as `place_of` takes it; its size is -1 where it is not there.

    Raises:
        UsageError: as `place_of`, or an address that cannot be used.
        SetupError: an object store does not answer, or lets us not in.
    """
    place = place_of(uri)
    if is_remote(place):
        from framemill.cluster.run.remote_sources import find_object

        return find_object(place)
    return _look_at(uri_of(place), place)


def _expand_lists(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if not argument.startswith("@") or os.path.exists(argument):
            yield argument
            continue
        try:
            lines = _read(argument[1:]).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as exc:
            raise UsageError(
                f"the list {argument[1:]} cannot be read ({exc}): give a text file with a path a line"
            ) from exc
        yield from (line for line in lines if line.strip() and not line.startswith("#"))


def _expand(argument: str) -> Iterator[tuple[str, bool]]:
    """Paths, each with whether the user named it himself."""
    if os.path.isdir(argument):
        closed: list[str] = []
        for folder, folders, names in os.walk(argument, onerror=partial(_note_closed, closed)):
            folders.sort()
            yield from ((os.path.join(folder, name), False) for name in sorted(names))
        yield from (
            (folder, True) for folder in closed
        )  # as files that cannot be read: a row of `errors` each
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


def _note_closed(closed: list[str], error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a folder that has just gone is one that was not there
        closed.append(error.filename)


def _base(argument: str) -> Path:
    """A file, a folder, or the folder before the first wildcard of a glob, links resolved."""
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return Path(os.path.realpath(argument))
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), Path(argument).parts)
    return Path(os.path.realpath(os.path.join(os.curdir, *plain)))


def _is_media(path: str, with_subtitles: bool) -> bool:
    name = os.path.basename(path)
    if name.startswith("."):
        return False
    if name.lower().endswith(SUBTITLE_ENDINGS):
        return with_subtitles
    extension = os.path.splitext(name)[1][1:].lower()
    is_ambiguous = extension in AMBIGUOUS_EXTENSIONS
    if extension in MEDIA_EXTENSIONS and not is_ambiguous:
        return True
    try:
        head = _read(path, HEAD_BYTES)
    except (OSError, ValueError):
        return is_ambiguous and os.path.isfile(path)
    return looks_like_media(head, is_ambiguous)


def _read(path: str, most: int | None = None) -> bytes:
    """The first `most` bytes of a regular file, or all that its size says.

    What the kernel makes up (/proc) says 0: reading it could go on, or wait, for ever.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("it is a folder, pipe, socket or device and no regular file")
    if not info.st_size:
        return b""
    with open(path, "rb") as file:
        return file.read(info.st_size if most is None else most)


def uri_of(path: str) -> str:
    """The text that a local file is known by, another for each path.

    Bytes that are no UTF-8 are shown as `\\xff`. Where a name holds such a spelling itself, its backslash is
    shown as `\\x5c`, so that the two can be told apart; all other names stand as they are.
    """
    if path.isascii() and "\\x" not in path:
        return path  # itself: a million names are held once
    plain = re.sub(r"\\(?=x(?:5c|[89a-f][0-9a-f]))", r"\\x5c", path)
    return os.fsencode(plain).decode("utf-8", "backslashreplace")


def paths_of(uri: str) -> tuple[str, ...]:
    """Where a local file known by this text may lie: what `uri_of` was given, then the text as it stands.

    Folders of version 0.1 hold names with such spellings as they stand.
    """
    if uri.isascii() and "\\x" not in uri:
        return (uri,)
    plain = re.sub(r"\\x(5c|[89a-f][0-9a-f])", _unescaped, uri)
    # As bytes, for names are UTF-8 whatever the locale takes them for.
    return tuple(os.fsdecode(each.encode("utf-8", "surrogateescape")) for each in dict.fromkeys((plain, uri)))


def path_of(uri: str) -> str:
    """Where a local file known by this text lies: the first of `paths_of` that is there, or the first."""
    paths = paths_of(uri)
    return next(filter(os.path.lexists, paths), paths[0])


def _unescaped(found: re.Match[str]) -> str:
    return "\\" if found[1] == "5c" else chr(0xDC00 + int(found[1], 16))


def _look_at(uri: str, path: str) -> SourceFile:
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return SourceFile(uri, path, -1, -1)
    return SourceFile(uri, path, info.st_size, info.st_mtime_ns)
