"""From addresses of objects, folders and globs in object stores to a list of files."""

from __future__ import annotations

import functools
import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from framemill.actors.limits import SUBTITLE_ENDINGS
from framemill.actors.object_store import (
    Address,
    describe_error,
    list_objects,
    open_store,
    parse_uri,
    setup_problem,
)
from framemill.cluster.results.remote_path import RemotePath, require_reachable
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.run.content_ids import object_id
from framemill.cluster.run.source_files import (
    AMBIGUOUS_EXTENSIONS,
    HEAD_BYTES,
    MEDIA_EXTENSIONS,
    SourceFile,
    SourceFiles,
    inside_output,
    looks_like_media,
)
from framemill.errors import SetupError, UsageError

REQUESTS_AT_ONCE = 32
_require_reachable_once = functools.cache(require_reachable)  # where one object after the other is asked for

# An object as a store lists it.
Listed = Mapping[str, Any]


class RemoteSources:
    """Resolves addresses as `list_sources` does paths.

    A folder is listed with size, time and entity tag of a thousand objects a request; only an object that the
    user names himself is asked for. Objects in folders are media by their ending; first bytes are looked at
    where there is no ending, or one that text has too. (On a disk, where a look costs nothing, every file
    with an unknown ending is looked at.)

    Args:
        addresses: all that are going to be expanded; objects among them are looked at several at a time.
        leave_out: a folder whose objects are never inputs: the results.
        with_subtitles: as in `list_sources`.

    Raises:
        UsageError: an address cannot be used, or is one in `leave_out`.
        SetupError: a store does not answer, or lets us not in.
    """

    def __init__(
        self, addresses: Sequence[str], leave_out: ResultPath | None = None, with_subtitles: bool = False
    ) -> None:
        parsed = {text: parse_uri(text) for text in addresses}
        for scheme, bucket in {(address.scheme, address.bucket) for address in parsed.values()}:
            require_reachable(scheme, bucket)
        named = [address for address in parsed.values() if address.key and not address.key.endswith("/")]
        self._parsed = parsed
        self._with_subtitles = with_subtitles
        self._leave_out = leave_out if isinstance(leave_out, RemotePath) else None
        for address in parsed.values():
            if self._is_left_out(_base(address) if glob.has_magic(address.key) else address):
                raise inside_output(str(address).rstrip("/"), leave_out)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            self._named = dict(zip(map(str, named), pool.map(_look, named), strict=True))
        # Where some objects can be had, one that cannot costs a row, and not the run.
        self._is_let_in = any(isinstance(told, SourceFile) for told in self._named.values())

    def expand(self, text: str, found: SourceFiles) -> int:
        """Adds the files that an address names; answers how many objects are no media."""
        address = self._parsed[text]
        named = self._named.get(str(address))
        if isinstance(named, SourceFile):
            found.add(named)
            return 0
        if glob.has_magic(address.key):
            matching = (told for told in _list(_base(address)) if _matches(address.key, told["path"]))
            return self._choose(address, matching, found)
        is_folder = not address.key or address.key.endswith("/")
        listed = _list(address)
        try:
            first = next(listed, None)
            if first is None and isinstance(named, SetupError):
                raise named
        except SetupError:
            if is_folder or not self._is_let_in:
                raise
            first = None
        if first is None:
            if not is_folder:
                found.add(SourceFile(str(address), str(address), -1, -1))
            return 0
        return self._choose(address, itertools.chain([first], listed), found)

    def _choose(self, address: Address, listed: Iterable[Listed], found: SourceFiles) -> int:
        """Looks at objects as they are listed, and adds those that are media, by name."""
        files, unsure, num_skipped = SourceFiles(), [], 0
        with_subtitles = self._with_subtitles or address.key.lower().endswith(SUBTITLE_ENDINGS)
        for told in listed:
            place = Address(address.scheme, address.bucket, told["path"])
            if found.has(str(place)) or self._is_left_out(place):
                continue
            file = _file(place, told)
            extension = _extension(place.key)
            if place.key.rpartition("/")[2].startswith("."):
                num_skipped += 1
            elif extension in MEDIA_EXTENSIONS - AMBIGUOUS_EXTENSIONS or (
                with_subtitles and f".{extension}" in SUBTITLE_ENDINGS
            ):
                files.add(file)
            elif extension and extension not in AMBIGUOUS_EXTENSIONS:
                num_skipped += 1
            elif file.num_bytes or extension:  # else the marker of a folder
                unsure.append(file)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            media = [
                file for file, is_media in zip(unsure, pool.map(_is_media, unsure), strict=True) if is_media
            ]
        for file in media:
            files.add(file)
        for each in files.places_by_uri():
            found.add(files[each])
        return num_skipped + len(unsure) - len(media)

    def _is_left_out(self, place: Address) -> bool:
        root = self._leave_out
        key = place.key.rstrip("/")
        return (
            root is not None
            and (root.scheme, root.bucket) == (place.scheme, place.bucket)
            and f"{key}/".startswith(f"{root.key}/")
        )


def find_object(text: str) -> SourceFile:
    """The one object that an address names, and nothing is expanded; its size is -1 where there is none.

    Raises:
        UsageError: it cannot be used, or names a bucket or folder.
        SetupError: the store does not answer, or lets us not in.
    """
    address = parse_uri(text)
    if not address.key or address.key.endswith("/"):
        raise UsageError(f"{text} names no object: give the address of one file")
    _require_reachable_once(address.scheme, address.bucket)
    found = _look(address)
    if isinstance(found, SetupError):
        raise found
    return found or SourceFile(str(address), str(address), -1, -1)


def _look(address: Address) -> SourceFile | SetupError | None:
    """An object; None where there is none of this name; an error where we may not ask."""
    try:
        return _file(address, open_store(address.scheme, address.bucket).head(address.key))
    except FileNotFoundError:
        return None
    except SetupError:
        raise
    except Exception as exc:
        return _setup_error(exc, address)


def _list(folder: Address) -> Iterator[Listed]:
    """Every object below a folder, at any depth."""
    try:
        store = open_store(folder.scheme, folder.bucket)
        yield from list_objects(store, folder.key.rstrip("/") or None)
    except SetupError:
        raise
    except Exception as exc:
        raise _setup_error(exc, folder) from None


def _setup_error(exc: Exception, address: Address) -> SetupError:
    if type(exc).__name__ == "InvalidPathError":
        return SetupError(
            f"{address} holds an object with an empty part in its name, such as a//b, which cannot be "
            "listed: rename it, or name a folder beside it"
        )
    why = setup_problem(exc, address.scheme, address.bucket)
    return SetupError(why or f"{address} cannot be listed: {describe_error(exc)}; try again later")


def _file(address: Address, told: Listed) -> SourceFile:
    changed_at: datetime = told["last_modified"]
    identity = object_id(str(address), told["size"], told["e_tag"] or "")
    changed_ns = round(changed_at.timestamp() * 1000) * 1_000_000
    return SourceFile(str(address), str(address), told["size"], changed_ns, identity)


def _extension(key: str) -> str:
    stem, dot, ending = key.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot and stem else ""


def _is_media(file: SourceFile) -> bool:
    """By its first bytes; what cannot be read is judged by its ending, and says so later."""
    address = parse_uri(file.uri)
    is_ambiguous = bool(_extension(address.key))
    if not file.num_bytes:
        return is_ambiguous
    try:
        span = (0, min(HEAD_BYTES, file.num_bytes))
        found = open_store(address.scheme, address.bucket).get(address.key, options={"range": span})
        return looks_like_media(bytes(found.bytes()), is_ambiguous)
    except Exception:
        return is_ambiguous


def _base(address: Address) -> Address:
    """The folder before the first wildcard."""
    plain: list[str] = []
    for part in address.key.split("/")[:-1]:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Address(address.scheme, address.bucket, "/".join(plain))


def _matches(pattern: str, key: str) -> bool:
    """Whether a glob names an object, or, if it has no `**`, a folder that the object is in."""
    parts = pattern.rstrip("/").split("/")
    return _match(parts, key.split("/"), "**" not in parts)


def _match(pattern: Sequence[str], parts: Sequence[str], may_go_on: bool) -> bool:
    if not pattern:
        return not parts or may_go_on
    if pattern[0] == "**":
        # Hidden folders are left out, as on a disk.
        return _match(pattern[1:], parts, may_go_on) or (
            bool(parts) and not parts[0].startswith(".") and _match(pattern, parts[1:], may_go_on)
        )
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], pattern[0]) and _match(pattern[1:], parts[1:], may_go_on)
