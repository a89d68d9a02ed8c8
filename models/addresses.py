"""Asks the addresses of models whether the files are still there, without fetching them."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import Any

from framemill.errors import ModelError
from framemill.models.download import CheckedRedirects, check_url, is_offline
from framemill.models.entry import ModelEntry
from framemill.models.registry import all_entries, is_default, named_entries

_TIMEOUT_SECONDS = 30.0
_AT_ONCE = 8
REDIRECTS = 5
_POINTER_BYTES = 1024  # a pointer of Git LFS is three short lines
# Where GitHub keeps the content of LFS files, and where the pointer to it stands.
_LFS_CONTENT, _LFS_POINTER = (
    "https://media.githubusercontent.com/media/",
    "https://raw.githubusercontent.com/",
)
_GONE = (401, 403, 404, 410, 451)
_NO_HEAD = (400, 403, 405, 501)  # a signed address may be signed for GET alone


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a file at an address: its size in bytes and sha256, None where that is not told."""

    num_bytes: int | None
    sha256: str | None


def check_models(names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What the addresses of the named models, or of all known ones, say of the files there.

    Nothing is downloaded: servers are asked for headers, and for the pointer where the file lies in Git LFS.

    Returns:
        A row per address: `name`, `role`, `is_default`, `url`, `state`, `num_bytes` and `sha256` as told
        (None where not), `message`. `state` is `ok`, `changed` (another size or digest), `gone`,
        `unreachable`, or for a model without an address `package` (inside of a wheel), `path` (a file of
        the user's own) or `none`.

    Raises:
        UsageError: a name is unknown.
        ModelError: FRAMEMILL_OFFLINE forbids to ask.
    """
    if is_offline():
        raise ModelError("FRAMEMILL_OFFLINE is set, so no address is asked; unset it")
    known = all_entries()
    roles: dict[str, list[ModelEntry]] = {}
    for entry in known:
        roles.setdefault(entry.name, []).append(entry)
    # A file that serves two roles is asked for once.
    wanted = dict.fromkeys(names) or dict.fromkeys(roles)
    entries = named_entries(wanted)
    questions = [(entry, url) for entry in entries.values() for url in entry.urls or ("",)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda question: _check(*question), questions))
    return [
        {
            "name": entry.name,
            "role": ", ".join(other.role for other in roles[entry.name]),
            "is_default": any(map(is_default, roles[entry.name])),
            "url": url or None,
            **facts,
        }
        for (entry, url), facts in zip(questions, answers, strict=True)
    ]


def lost(rows: Iterable[Mapping[str, Any]], names: Iterable[str] = ()) -> list[str]:
    """Names of the models of `check_models` that no address has: of those in `names`, or of the defaults."""
    asked = set(names)
    wanted = dict.fromkeys(
        row["name"] for row in rows if (row["name"] in asked if asked else row["is_default"])
    )
    held = {row["name"] for row in rows if row["state"] in ("ok", "package", "path")}
    return [name for name in wanted if name not in held]


def _facts(state: str, answer: Answer | None, message: str = "") -> dict[str, Any]:
    num_bytes, sha256 = (answer.num_bytes, answer.sha256) if answer else (None, None)
    return {"state": state, "num_bytes": num_bytes, "sha256": sha256, "message": message}


def _check(entry: ModelEntry, url: str) -> dict[str, Any]:
    if entry.package_file:
        return _facts("package", None, f"inside of {entry.package_file.partition('/')[0]}")
    if entry.path:
        return _facts("path", None, entry.path)
    if not url:
        return _facts("none", None, "has no address")
    address, _, member = url.partition("#")
    try:
        if entry.files:
            return _check_folder(entry, address)
        answer = ask(address)
    except urllib.error.HTTPError as exc:
        return _facts("gone" if exc.code in _GONE else "unreachable", None, f"{exc.code} {exc.reason}")
    except (urllib.error.URLError, HTTPException, OSError, ValueError, ModelError) as exc:
        return _facts("unreachable", None, str(exc))
    if member:  # of the archive nothing is known but that it is there
        return _facts("ok", answer, f"holds {member}")
    problem = _difference(answer, entry.num_bytes, entry.sha256)
    return _facts("changed" if problem else "ok", answer, problem)


def _check_folder(entry: ModelEntry, address: str) -> dict[str, Any]:
    total = 0
    for file in entry.files:
        answer = ask(address + file.name)
        if problem := _difference(answer, file.num_bytes, file.sha256):
            return _facts("changed", answer, f"{file.name} {problem}")
        total += answer.num_bytes or 0
    return _facts("ok", Answer(total, None))


def _difference(answer: Answer, num_bytes: int, sha256: str) -> str:
    if answer.sha256 not in (None, sha256):
        return f"has sha256 {answer.sha256}, wanted {sha256}"
    if num_bytes and answer.num_bytes not in (None, num_bytes):
        return f"has {answer.num_bytes} bytes, wanted {num_bytes}"
    return ""


def ask(url: str) -> Answer:
    """What the server of `url` says of the file there.

    Raises what urllib does, and ModelError for an address that is not https.
    """
    headers = _headers(url)
    sha256 = _digest(headers.get("x-linked-etag", ""))
    length = headers.get("x-linked-size") or headers.get("content-length", "")
    answer = Answer(int(length) if length.isdecimal() else None, sha256)
    if sha256 is None and url.startswith(_LFS_CONTENT):
        with suppress(urllib.error.URLError, OSError):  # then the size has to do
            return _pointer(url.replace(_LFS_CONTENT, _LFS_POINTER, 1)) or answer
    return answer


def _pointer(url: str) -> Answer | None:
    """The file that a pointer of Git LFS stands for; None where there is another file."""
    with _open(url, "GET", {"Range": f"bytes=0-{_POINTER_BYTES - 1}"}) as response:
        text = response.read(_POINTER_BYTES).decode("utf-8", "replace")
    digest = re.search(r"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    size = re.search(r"^size (\d+)$", text, re.MULTILINE)
    if not text.startswith("version https://git-lfs") or not digest or not size:
        return None
    return Answer(int(size[1]), digest[1])


def _digest(tag: str) -> str | None:
    """A sha256 from an entity tag; others than of 64 digits are of another kind."""
    found = re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', tag)
    return found[1] if found else None


def _headers(url: str) -> dict[str, str]:
    """Headers of the file at an address by lower-case names, from the answers on the way to it.

    Hugging Face tells size and digest where it sends on to the store that holds the content.
    """
    linked: dict[str, str] = {}
    for _ in range(REDIRECTS):
        try:
            with _open(url, "HEAD") as response:
                return {**_lower(response.headers), **linked}
        except urllib.error.HTTPError as exc:
            if exc.code in _NO_HEAD:
                return {**_headers_by_get(url), **linked}
            if exc.code not in (301, 302, 303, 307, 308) or "Location" not in exc.headers:
                raise
            told = _lower(exc.headers)
            linked |= {name: value for name, value in told.items() if name.startswith("x-linked-")}
            if {"x-linked-size", "x-linked-etag"} <= set(linked):
                return linked
            url = urllib.parse.urljoin(url, exc.headers["Location"])
    raise HTTPException(f"is sent on more than {REDIRECTS} times")


def _headers_by_get(url: str) -> dict[str, str]:
    """As `_headers`, from a server that answers no HEAD: one byte is asked for."""
    with _open(url, "GET", {"Range": "bytes=0-0"}) as response:
        found = _lower(response.headers)
    if "/" in found.get("content-range", ""):
        found["content-length"] = found["content-range"].rpartition("/")[2]
    return found


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _open(url: str, method: str, headers: dict[str, str] | None = None) -> Any:
    # What a HEAD is sent on by is looked at; what is fetched may be sent on to https alone.
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects() if method == "HEAD" else CheckedRedirects()]
    if check_url(url):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    return urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_SECONDS)
