"""Whether a server of Ray answers: one that is frozen or unplugged stays in Ray's lists for long."""

from __future__ import annotations

import errno
import os
import socket
import time

# How a client of HTTP/2 begins: a preface and an empty frame of settings (RFC 9113, 3.4 and 6.5). Ray's
# servers speak it by gRPC, and answer with a frame of settings. A frozen process answers nothing, though its
# machine still takes connections for it.
_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0\0\0\0\0"


# What is said of an address where nothing listens any more: the server has ended.
REFUSED = os.strerror(errno.ECONNREFUSED)


def problem_with(host: str, port: int, seconds: float) -> str:
    """Why no server of Ray's answers there within so many seconds, in words; empty where one does.

    With RAY_USE_TLS, whether the address takes a connection is all that is asked.
    """
    deadline = time.monotonic() + seconds
    try:
        with socket.create_connection((host.strip("[]"), port), seconds) as there:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""
            there.settimeout(max(0.001, deadline - time.monotonic()))
            there.sendall(_HELLO)
            if there.recv(9, socket.MSG_WAITALL)[3:4] == _SETTINGS:
                return ""
            return "another kind of server listens there, such as the dashboard"
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as exc:
        return exc.strerror or str(exc)
