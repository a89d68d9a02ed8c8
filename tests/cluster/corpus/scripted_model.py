"""An OpenAI-compatible server on this machine whose answers a test writes down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What goes back: `text` as a chat answers, or `body` as it is; `drip` seconds between its bytes."""

    text: str = '{"caption": "a picture", "tags": []}'
    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    drip: float = 0.0
    usage: Any = None
    finish: str = "stop"
    breaks_off: bool = False

    def bytes(self) -> bytes:
        if self.body is not None:
            return self.body
        choice = {"message": {"role": "assistant", "content": self.text}, "finish_reason": self.finish}
        usage = {"prompt_tokens": 100, "completion_tokens": 10} if self.usage is None else self.usage
        return json.dumps({"choices": [choice], "usage": usage}).encode()


@dataclass
class Question:
    """What was asked. prompt: its words. pictures: data URLs of its pictures."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    path: str

    @property
    def prompt(self) -> str:
        return "".join(part.get("text", "") for part in self.body["messages"][0]["content"])

    @property
    def pictures(self) -> list[str]:
        parts = self.body["messages"][0]["content"]
        return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]

    @property
    def is_of_file(self) -> bool:
        return not self.pictures


Script = Callable[[Question, int], Reply]


@dataclass
class ScriptedModel:
    """What the server was asked, in order, and how many questions at a time at most."""

    script: Script
    address: str = ""
    asked: list[Question] = field(default_factory=list)
    most_at_once: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, question: Question) -> Reply:
        with self._lock:
            self.asked.append(question)
            number = len(self.asked)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            reply = self.script(question, number)
            time.sleep(reply.wait)
            return reply
        finally:
            with self._lock:
                self._open -= 1


@contextmanager
def serving(script: Script) -> Iterator[ScriptedModel]:
    """The server, until the block ends."""
    model = ScriptedModel(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = model.reply(Question(json.loads(body), dict(self.headers), self.path))
            content = reply.bytes()
            head = f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(content)}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            try:
                self.wfile.write(head.encode() + b"\r\n")
                if reply.breaks_off:
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif reply.drip:
                    for at in range(len(content)):
                        self.wfile.write(content[at : at + 1])
                        time.sleep(reply.drip)
                else:
                    self.wfile.write(content)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    model.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
