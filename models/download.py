"""Files fetched over https, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from framemill.errors import ModelError

# Called with (bytes so far, bytes in all or 0 where unknown).
OnProgress = Callable[[int, int], None]

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0  # without a byte
_LIMIT_BYTES = 8 << 30  # of a download whose size nobody states
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_offline() -> bool:
    """Whether `FRAMEMILL_OFFLINE` forbids every connection."""
    return os.environ.get("FRAMEMILL_OFFLINE", "0") not in ("", "0")


def download(url: str, file: IO[bytes], num_bytes: int, on_progress: OnProgress | None = None) -> str:
    """Writes what `url` sends to `file` and returns its sha256 as hex digits.

    Only https is spoken, also after redirects; plain http is for this machine itself.

    Args:
        num_bytes: the size that is expected, which is never exceeded; 0 where unknown.

    Raises:
        ModelError: offline, a URL of another kind, no connection, or more bytes than expected.
    """
    if is_offline():
        raise ModelError(f"FRAMEMILL_OFFLINE is set, so {url} is not fetched; unset it or use a mirror")
    local = _check_url(url)
    handlers: list[urllib.request.BaseHandler] = [_CheckedRedirects()]
    if local:
        handlers.append(urllib.request.ProxyHandler({}))
    digest, done, limit = hashlib.sha256(), 0, num_bytes or _LIMIT_BYTES
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT_SECONDS) as response:
            total = num_bytes or int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK_BYTES):
                done += len(chunk)
                if done > limit:
                    raise ModelError(f"{url} sends more than the {limit} bytes expected; check the URL")
                digest.update(chunk)
                file.write(chunk)
                if on_progress:
                    on_progress(done, total)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as exc:
        raise ModelError(
            f"{url} cannot be fetched: {exc}; try again, or use a mirror folder (FRAMEMILL_MODEL_MIRROR)"
        ) from exc
    return digest.hexdigest()


def _check_url(url: str) -> bool:
    """Whether the URL speaks of this machine; raises ModelError where its scheme is not allowed."""
    parts = urllib.parse.urlsplit(url)
    local = parts.hostname in _LOOPBACK
    if parts.scheme == "https" or (parts.scheme == "http" and local):
        return local
    raise ModelError(f"{url} is not fetched, since only https is spoken; give an https URL")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when the block ends well, and vanishes otherwise.

    Several processes may do so at once: each writes its own file, and the rename is atomic.

    Raises:
        ModelError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    except OSError as exc:
        raise ModelError(
            f"cannot write {path}: {exc.strerror}; make the folder writable or set FRAMEMILL_CACHE_DIR"
        ) from exc
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
