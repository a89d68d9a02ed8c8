"""Whether a Ray cluster of this machine is open to others is read from what the kernel tells."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from framemill.cluster import doctor
from framemill.cluster.exposure import Server, ray_servers

LISTEN = """
import socket, sys, time
held = socket.socket(socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET)
held.bind((sys.argv[2], 0))
held.listen()
print(held.getsockname()[1], flush=True)
time.sleep(60)
"""


@contextmanager
def listening(address: str, **variables: str) -> Iterator[tuple[int, int]]:
    """A process that looks like Ray's dashboard; its id and port."""
    command = [sys.executable, "-c", LISTEN, "ray/dashboard/dashboard.py", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], **variables})
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def _server(pid: int) -> Server:
    return next(server for server in ray_servers() if server.pid == pid)


@pytest.mark.parametrize(
    ("address", "shown"),
    [("127.0.0.1", ""), ("127.0.0.2", ""), ("0.0.0.0", "0.0.0.0"), ("::1", ""), ("::", "::")],
)
def test_who_may_reach_a_server(address: str, shown: str) -> None:
    if ":" in address and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with listening(address) as (pid, port):
        server = _server(pid)
        assert server.addresses == ((f"{shown}:{port}",) if shown else ())
        assert server.asks_token is False and "job server" in server.kind


def test_the_token_is_seen() -> None:
    with listening("0.0.0.0", RAY_AUTH_MODE="token") as (pid, _):
        assert _server(pid).asks_token is True


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (Server("it", 7, ("0.0.0.0:6379",), False), "warn"),
        (Server("it", 7, ("0.0.0.0:6379",), None), "warn"),
        (Server("it", 7, ("0.0.0.0:6379",), True), "ok"),
        (Server("it", 7, (), False), "ok"),
        (None, "ok"),
    ],
)
def test_the_doctor_warns_of_an_open_cluster(
    server: Server | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ray_servers", lambda: [server] if server else [])
    (finding,) = doctor._ray_cluster()
    assert finding["status"] == status
    if status == "warn":
        assert "0.0.0.0:6379" in finding["detail"] and "RAY_AUTH_MODE=token" in finding["remedy"]
