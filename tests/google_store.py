"""A stand-in for Google Cloud Storage on loopback: as much of its XML interface as results and sources need.

https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Stored(NamedTuple):
    """One object."""

    data: bytes
    generation: int
    at: datetime

    @property
    def date(self) -> str:
        return format_datetime(self.at, usegmt=True)

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, Stored]] = {}  # by path
    lock: ClassVar[threading.Lock] = threading.Lock()

    def log_message(self, *_: object) -> None: ...

    def _say(self, status: int, body: bytes = b"", content: Stored | None = None) -> None:
        self.send_response(status)
        if content is not None:
            self.send_header("ETag", content.tag)
            self.send_header("x-goog-generation", str(content.generation))
            self.send_header("Last-Modified", content.date)
        length = len(content.data) if content is not None and self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _find(self) -> tuple[str, Stored | None]:
        path = unquote(urlsplit(self.path).path)
        return path, self.objects.get(path)

    def do_HEAD(self) -> None:
        _, there = self._find()
        self._say(200 if there else 404, content=there)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        path, there = self._find()
        if "list-type" in query:
            return self._list(path.strip("/"), query.get("prefix", [""])[0])
        if there is None:
            return self._say(404)
        wanted = self.headers.get("If-Match")
        if wanted and wanted != there.tag:
            return self._say(412)
        if span := self.headers.get("Range"):
            start, _, end = span.removeprefix("bytes=").partition("-")
            last = min(int(end), len(there.data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(there.data)}")
            self.send_header("ETag", there.tag)
            self.send_header("Last-Modified", there.date)
            piece = there.data[int(start) : last + 1]
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            self.wfile.write(piece)
            return None
        self._say(200, there.data, there)

    def _list(self, bucket: str, prefix: str) -> None:
        items = "".join(
            f"<Contents><Key>{escape(path[len(bucket) + 2 :])}</Key><Size>{len(stored.data)}</Size>"
            f"<ETag>{stored.tag}</ETag>"
            f"<LastModified>{stored.at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for path, stored in sorted(self.objects.items())
            if path.startswith(f"/{bucket}/{prefix}")
        )
        self._say(
            200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()
        )

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with self.lock:
            path, there = self._find()
            generation = there.generation if there else 0
            condition = self.headers.get("x-goog-if-generation-match")
            if condition is not None and int(condition) != generation:
                return self._say(412)
            self.objects[path] = Stored(data, generation + 1, datetime.now(UTC))
        self._say(200, content=self.objects[path])

    def do_DELETE(self) -> None:
        with self.lock:
            gone = self.objects.pop(self._find()[0], None)
        self._say(204 if gone else 404)


@contextmanager
def running_google_store() -> Iterator[str]:
    """Starts it; yields its address."""
    _Handler.objects.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
