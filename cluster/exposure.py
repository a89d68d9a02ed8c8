"""Ray processes of this machine that listen to others, and whether they ask who calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

# What of Ray takes work from callers, by a part of its command line.
_SERVERS = {
    "gcs_server": "the head's control store (GCS)",
    "dashboard/dashboard.py": "the dashboard and job server",
    "ray.util.client.server": "the client server",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A Ray process that listens.

    Attributes:
        kind: in words. pid: its process id.
        addresses: `address:port` of each socket that other machines may reach.
        asks_token: whether it wants a token; None where its environment cannot be read.
    """

    kind: str
    pid: int
    addresses: tuple[str, ...]
    asks_token: bool | None


def ray_servers() -> list[Server]:
    """All of this machine, those on the loopback address with no `addresses`."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            kind = next((kind for part, kind in _SERVERS.items() if part in line), "")
            if kind and "ray" in line:
                addresses = tuple(sorted(set(_open_to_others(process))))
                found.append(Server(kind, process.pid, addresses, _asks_token(process)))
        except psutil.Error:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def _asks_token(process: psutil.Process) -> bool | None:
    try:
        variables = process.environ()
    except psutil.AccessDenied:
        return None
    return any((k.lower(), v.lower()) == ("ray_auth_mode", "token") for k, v in variables.items())


def _open_to_others(process: psutil.Process) -> Iterator[str]:
    for socket in process.net_connections("tcp"):
        if socket.status == psutil.CONN_LISTEN:
            address = ipaddress.ip_address(socket.laddr.ip)
            address = getattr(address, "ipv4_mapped", None) or address
            if not address.is_loopback:
                yield f"{address}:{socket.laddr.port}"
