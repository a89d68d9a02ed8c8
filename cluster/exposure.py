"""Ray processes of this machine that listen to others, and whether they ask who calls.

Read from /proc, as Linux offers it; elsewhere nothing is found.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What of Ray takes work from callers, by a part of its command line.
_SERVERS = {
    "gcs_server": "the head's control store (GCS)",
    "dashboard/dashboard.py": "the dashboard and job server",
    "ray.util.client.server": "the client server",
}
_LISTENS = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h


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


def ray_servers(proc: Path = Path("/proc")) -> list[Server]:
    """All of this machine, those on the loopback address with no `addresses`."""
    sockets = dict(_listening(proc))
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            kind = next((kind for part, kind in _SERVERS.items() if part in line), "")
            if not kind or "ray" not in line:
                continue
            links = [os.readlink(link) for link in (folder / "fd").iterdir()]
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
        open_to_others = sorted({sockets[link] for link in links if link in sockets} - {""})
        found.append(Server(kind, int(folder.name), tuple(open_to_others), _asks_token(folder)))
    return found


def _asks_token(folder: Path) -> bool | None:
    try:
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return any(one.lower() == b"ray_auth_mode=token" for one in variables)


def _listening(proc: Path) -> Iterator[tuple[str, str]]:
    """Name of each listening socket, and its `address:port`; empty where only this machine reaches it."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] != _LISTENS:
                continue
            packed, port = fields[1].split(":")
            address = _address(packed)
            shown = "" if address.is_loopback else f"{address}:{int(port, 16)}"
            yield f"socket:[{fields[9]}]", shown


def _address(packed: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints addresses as 32-bit words in the machine's own byte order."""
    raw = bytes.fromhex(packed)
    words = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    ordered = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    found = ipaddress.ip_address(ordered)
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
