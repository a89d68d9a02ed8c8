"""A server on this machine that answers each path as a test says, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What a path has: its bytes, status and headers; `head` is the status that a HEAD gets, if another."""

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    head: int = 0


class ScriptedServer:
    """Attributes: url: where it listens. pages: by path. asked: method and path of each request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []


@contextmanager
def serving() -> Iterator[ScriptedServer]:
    """A server for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            served.asked.append((self.command, self.path))
            page = served.pages.get(self.path, Page(status=404))
            content = page.content
            status = page.head if self.command == "HEAD" and page.head else page.status
            if wanted := self.headers.get("Range"):
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                content = content[int(start) : int(end or len(content)) + 1]
                status = 206 if status == 200 else status
            self.send_response(status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(page.content)}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        server.shutdown()
        thread.join()
