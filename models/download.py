"""Files fetched over https, and files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any

from framemill.errors import ModelError

# Called with (bytes so far, bytes in all or 0 where unknown, why it is tried again or empty).
OnProgress = Callable[[int, int, str], None]

ATTEMPTS = 5  # in a row, without `_PROGRESS_BYTES` more
PAUSE_SECONDS = 0.5  # before the second attempt; each further pause is twice as long
_LONGEST_PAUSE_SECONDS = 60.0  # that a server may ask for
_PROGRESS_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0  # without a byte
LIMIT_BYTES = 8 << 30  # of a download whose size nobody states
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Request timeout, range not satisfiable, too many requests, and errors of servers and their gateways.
_TEMPORARY = (408, 416, 429, 500, 502, 503, 504)


def is_offline() -> bool:
    """Whether `FRAMEMILL_OFFLINE` forbids every connection."""
    return os.environ.get("FRAMEMILL_OFFLINE", "0") not in ("", "0")


def download(url: str, file: IO[bytes], num_bytes: int, on_progress: OnProgress | None = None) -> str:
    """Writes what `url` sends to `file` and returns its sha256 as hex digits.

    Only https is allowed, also after redirects; plain http is for this machine itself. What fails for the
    moment is tried again, up to `ATTEMPTS` times in a row, after a pause: twice the one before, or what the
    server asks for. A transfer that broke off goes on where it ended if the server proves, by entity tag or
    date, that the content is still the same, and starts anew otherwise.

    Args:
        file: open for reading and writing. What it holds already is taken for the start of the content,
            which only the digest in the end can prove.
        num_bytes: the size that is expected, never exceeded; 0 where unknown.

    Raises:
        ModelError: offline, a URL of another kind, no connection, fewer or more bytes than expected.
    """
    if is_offline():
        raise ModelError(f"FRAMEMILL_OFFLINE is set, so {url} is not fetched; unset it or use a mirror")
    handlers: list[urllib.request.BaseHandler] = [CheckedRedirects()]
    if check_url(url):
        handlers.append(urllib.request.ProxyHandler({}))
    transfer = _Transfer(url, file, num_bytes, on_progress, urllib.request.build_opener(*handlers))
    failures, best = 0, transfer.done
    while not num_bytes or transfer.done < num_bytes:
        try:
            transfer.attempt()
            break
        except (urllib.error.URLError, HTTPException, OSError, ValueError) as exc:
            failures = 0 if transfer.done >= best + _PROGRESS_BYTES else failures
            best, failures = max(best, transfer.done), failures + 1
            pause = max(PAUSE_SECONDS * 2 ** (failures - 1), _retry_after(exc))
            if failures == ATTEMPTS or pause > _LONGEST_PAUSE_SECONDS or not _may_pass(exc):
                waits = f" and asks to wait {pause:.0f} s" if pause > _LONGEST_PAUSE_SECONDS else ""
                raise ModelError(
                    f"{url} cannot be fetched: {exc} (attempt {failures}){waits}; try again, or use a mirror "
                    "folder (FRAMEMILL_MODEL_MIRROR)"
                ) from exc
            if on_progress:
                on_progress(transfer.done, num_bytes, f"{exc}; trying again in {pause:.1f} s")
            time.sleep(pause)
    return transfer.digest.hexdigest()


class _Transfer:
    """One file on its way, over as many requests as it takes.

    Attributes:
        done: bytes in the file. digest: of these.
    """

    def __init__(
        self,
        url: str,
        file: IO[bytes],
        num_bytes: int,
        on_progress: OnProgress | None,
        opener: urllib.request.OpenerDirector,
    ) -> None:
        self._url = url
        self._file = file
        self._num_bytes = num_bytes
        self._on_progress = on_progress
        self._opener = opener
        self._validator = ""
        self.done, self.digest = 0, hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            self.digest.update(chunk)
            self.done += len(chunk)
        self._can_resume = True  # until a server shows that it cannot

    def attempt(self) -> None:
        """Fetches what is missing; raises what urllib does, and HTTPException where the server sends less."""
        request = urllib.request.Request(self._url)
        if self.done and self._can_resume:
            request.add_header("Range", f"bytes={self.done}-")
            if self._validator:
                request.add_header("If-Range", self._validator)
        with self._open(request) as response:
            if response.status == 206:
                start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
                if not start or int(start[1]) != self.done:
                    self._can_resume = False
                    raise HTTPException(f"asked for bytes from {self.done}, the server sent others")
            else:
                self.done, self.digest = 0, hashlib.sha256()
                self._file.seek(0)
                self._file.truncate()
                self._validator = ""
            self._validator = _validator(response.headers) or self._validator  # a part need not repeat it
            self._can_resume = bool(self._validator)
            length = response.headers.get("Content-Length")
            announced = self.done + int(length) if length else 0
            self._receive(response, self._num_bytes or announced)
        if self.done < announced:  # else all that the server has is there, and only its digest can be wrong
            raise HTTPException(f"the server sent {self.done} bytes of {announced}")

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                self._can_resume = False  # the range does not exist there
            raise

    def _receive(self, response: Any, total: int) -> None:
        limit = self._num_bytes or LIMIT_BYTES
        while chunk := response.read(_CHUNK_BYTES):
            if self.done + len(chunk) > limit:
                self._file.truncate(0)
                raise ModelError(f"{self._url} sends more than the {limit} bytes expected; check the URL")
            self._file.write(chunk)
            self.digest.update(chunk)
            self.done += len(chunk)
            if self._on_progress:
                self._on_progress(self.done, total, "")


def _validator(headers: HTTPMessage) -> str:
    """What a server proves by that its content is the same byte for byte; empty where it gives nothing."""
    tag = headers.get("ETag", "")
    if tag.startswith('"'):  # one that starts with W/ only promises the same meaning
        return tag
    return headers.get("Last-Modified", "")


def _may_pass(exc: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(exc, urllib.error.HTTPError):
        return exc.code in _TEMPORARY
    if isinstance(exc, urllib.error.URLError):
        return not isinstance(exc.reason, ssl.SSLCertVerificationError)
    return isinstance(exc, (ConnectionError, TimeoutError, HTTPException, ssl.SSLError))


def _retry_after(exc: Exception) -> float:
    """Seconds that a server asks to wait, by number or by date; 0 where it does not."""
    text = (exc.headers.get("Retry-After") or "") if isinstance(exc, urllib.error.HTTPError) else ""
    if text.strip().isdecimal():
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return 0.0


def check_url(url: str) -> bool:
    """Whether the URL is one of this machine; raises ModelError where its scheme is not allowed."""
    parts = urllib.parse.urlsplit(url)
    local = parts.hostname in _LOOPBACK
    if parts.scheme == "https" or (parts.scheme == "http" and local):
        return local
    raise ModelError(f"{url} is not fetched, since only https is spoken; give an https URL")


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        check_url(newurl)
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


@contextmanager
def resuming(path: Path, sha256: str) -> Iterator[IO[bytes]]:
    """As `replacing`, for content of a known digest: where the block fails, what it wrote stays for the next.

    The file starts with what an earlier block left, which the caller empties once it proves wrong. Only one
    process at a time goes on with it; others write files of their own.
    """
    partial = path.with_name(f".part-{sha256[:32]}")
    with ExitStack() as stack:
        file = _locked(partial)
        if file is None:
            yield stack.enter_context(replacing(path))
            return
        stack.enter_context(file)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            file.flush()
            if not os.fstat(file.fileno()).st_size:
                partial.unlink(missing_ok=True)
            raise


def _locked(path: Path) -> IO[bytes] | None:
    """The file at `path`, made if need be, locked until it is closed; None where another process has it.

    Nor is it one that a link leads to: in a folder that others write to, that could be any file of ours.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have renamed it between our opening and locking.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()
    return None
