"""A real S3-compatible server on loopback, which counts what it serves and fails when told to."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

ACCESS_KEY, SECRET_KEY = "AKIAFRAMEMILLTEST", "wJalrXUtnFEMI-very-secret"
Request = tuple[str, str, str]  # method, path, query


# Asked to slow down; the connection ends before anything is done, after it, or half-way through the answer;
# or nothing comes for a while.
TROUBLES = ("slow down", "reset", "lost", "cut", "stall")


class S3Server:
    """moto behind a counter.

    Attributes:
        url: where it listens.
        requests: (method, path, query) of every request so far.
        served: path -> bytes of answers to GET.
        refuse: called with each request; True makes the server answer 503 instead of doing it, and a text
            such as "403 Forbidden" that.
        trouble: called with each request; one of `TROUBLES` happens to it, or nothing where it is empty.
        stall_seconds: how long the trouble `stall` lasts.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self.requests: list[Request] = []
        self.served: dict[str, int] = {}
        self.refuse: Callable[[Request], bool | str] = lambda request: False
        self.trouble: Callable[[Request], str] = lambda request: ""
        self.stall_seconds = 2.0
        self._app = app
        self._lock = threading.Lock()
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        request = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        with self._lock:
            self.requests.append(request)
        trouble = self.trouble(request)
        if trouble == "slow down":
            told = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            start("503 Slow Down", [("Content-Length", str(len(told)))])
            return [told if request[0] != "HEAD" else b""]
        if trouble == "stall":
            time.sleep(self.stall_seconds)
        if trouble == "reset":
            _reset(environ)
        refused = self.refuse(request)
        if refused:
            # As some servers do, it tells who asked.
            told = f"<Error><Code>Told</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>".encode()
            status = refused if isinstance(refused, str) else "503 Slow Down"
            start(status, [("Content-Length", str(len(told)))])
            return [told if request[0] != "HEAD" else b""]
        body = b"".join(self._app(environ, start))
        if trouble == "lost":
            _reset(environ)
        if trouble == "cut":
            return _half(body, environ)
        if request[0] == "GET":
            with self._lock:
                self.served[request[1]] = self.served.get(request[1], 0) + len(body)
        return [body]

    def close(self) -> None:
        self._server.shutdown()


def _reset(environ: dict[str, Any]) -> NoReturn:
    """Ends the connection as a machine does that went away."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    raise ConnectionResetError


def _half(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    _reset(environ)


class Bucket:
    """A bucket of its own for a test."""

    def __init__(self, server: S3Server) -> None:
        import boto3

        self.server = server
        self.name = f"test-{secrets.token_hex(6)}"
        self.client = boto3.client(
            "s3", endpoint_url=server.url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )  # fmt: skip
        self.client.create_bucket(Bucket=self.name)

    def uri(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes | Path) -> str:
        """Stores an object; answers its address."""
        body = data.read_bytes() if isinstance(data, Path) else data
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return self.uri(key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def served(self, key: str) -> int:
        """Bytes of this object that were sent to anybody."""
        return self.server.served.get(f"/{self.name}/{key}", 0)


@contextmanager
def running_server() -> Iterator[S3Server]:
    """Starts the server, and points the environment to it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    server = S3Server(DomainDispatcherApplication(create_backend_app))
    environ = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
    }
    try:
        with mock.patch.dict(os.environ, environ):
            yield server
    finally:
        server.close()
