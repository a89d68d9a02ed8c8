"""Whether a server of Ray answers: one that is frozen or unplugged stays in Ray's lists for long."""

from __future__ import annotations

import errno
import os
import socket
import time

# What is said of an address where nothing listens any more: the server has ended.
REFUSED = os.strerror(errno.ECONNREFUSED)
# The health check of gRPC, as a probe of Kubernetes asks it. Any status that a server gives is an answer: the
# one of a node knows no such method, and with a token it refuses who brings none.
_METHOD = "/grpc.health.v1.Health/Check"


def problem_with(host: str, port: int, seconds: float) -> str:
    """Why no server of Ray's answers there within so many seconds, in words; empty where one does.

    With RAY_USE_TLS, whether the address takes a connection is all that is asked.
    """
    deadline = time.monotonic() + seconds
    try:
        with socket.create_connection((host.strip("[]"), port), seconds):
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as exc:
        return exc.strerror or str(exc)
    return _ask(f"{host}:{port}", seconds, max(0.001, deadline - time.monotonic()))


def _ask(address: str, seconds: float, left: float) -> str:
    # A frozen process answers nothing, though its machine still takes connections for it.
    import grpc

    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_METHOD)
        try:
            ask(b"", timeout=left)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no answer within {seconds:g} s"
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return "another kind of server listens there, such as the dashboard"
    return ""
