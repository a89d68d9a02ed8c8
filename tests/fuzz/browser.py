"""A hostile browser against `framemill view`: requests of all kinds, whole, broken, slow and cut off.

A crash is an answer of 500, a traceback, or the end of the server; a hang a whole request without an answer
within `DEADLINE_SECONDS`, or a server that has grown beyond `MOST_GROWTH_MB`; broken an answer without the
headers that guard a page; an escape an answer that holds what stands outside of the folder and its sources.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from tests.cluster.view.folders import make_folder
from tests.fuzz.tally import Fault

KIND = "hostile browser"
REPOSITORY = Path(__file__).resolve().parents[2]
BATCH = 200
DEADLINE_SECONDS = 90.0  # a statement of SQL may take 60
ODD_SECONDS = 2.0  # of what is no sound request
MOST_GROWTH_MB = 150.0  # from the first batch on; the first answers fill what is kept of the folder
SECRET = "of-nobody-else-5c1d"
_RESET = b"reset"
_MOST_ANSWER_BYTES = 4 << 20
_METHODS = (
    *("GET",) * 20,
    "HEAD",
    "HEAD",
    "POST",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "X" * 300,
    "get",
)
_PATHS = (
    *("/", "/api/overview", "/api/shots", "/api/facets", "/api/files", "/api/files/{id}", "/api/boxes/{id}"),
    *("/api/similar", "/api/people", "/api/duplicates", "/api/errors", "/api/runs", "/api/sequence"),
    *("/api/people/{id}", "/api/tags", "/api/sql", "/stills/{id}/{n}", "/media/{id}", "/static/view.js"),
    *("/static/{up}", "/media/{up}", "/stills/{up}/0", "/{up}", "//{up}", "/static//etc/passwd", "/api/"),
    *("/media/..%2f..%2fsecret.txt", "/static/%2e%2e/server.py", "/media/file:%2f%2f%2fetc%2fpasswd"),
)
_KEYS = ("filter", "sort", "offset", "limit", "source", "frame", "start", "end", "face", "token", "x")
# What a path reads of them; others are sent to it as well.
_READ = {
    **{
        f"/api/{name}": ("filter", "sort", "offset", "limit")
        for name in ("shots", "facets", "files", "errors")
    },
    "/api/similar": ("source", "frame", "limit"),
    "/api/boxes/{id}": ("start", "end"),
    "/stills/{id}/{n}": ("face",),
}
_VALUES = (
    *(
        "",
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e308",
        "99999999999999999999",
        "9223372036854775807",
    ),
    *("9223372036854775808", "0x10", "1_000", "\u0661", "file", "-start", "start", "length", "score"),
    *("null", "{}", "[]", '{"a":1}', '{"text":"x"}', "0,0,1,1", "nan,nan,nan,nan", "inf,0,1,1", "1,2,3"),
    *(
        "-1e308,-1e308,1e308,1e308",
        "'; DROP TABLE media; --",
        "x' OR '1'='1",
        "%00",
        "\0",
        "\ud7ff",
        "\U0001f600",
    ),
    *("1=1", "read_text('{secret}')", "source_id IN (SELECT content FROM read_text('{secret}'))", "a" * 5000),
    *("length > 1", "(" * 500, "tag:x", "person:1", "[[" * 1000),
)
_BODIES = (
    *(
        "",
        "null",
        "[]",
        "{",
        "{}",
        "[" * 100_000,
        '"',
        '{"sql":1}',
        '{"sql":""}',
        '{"sql":"SELECT 1","limit":0}',
    ),
    *('{"sql":"SELECT 1","limit":1e99}', '{"sql":"SELECT 1","limit":99999999999999999999}', "\0", "NaN"),
    *(
        '{"tag":"","shots":[]}',
        '{"tag":"a","shots":[["x",0]]}',
        '{"tag":"a","shots":[["x",9223372036854775808]]}',
    ),
    *('{"tag":"\\ud800","shots":[["x",-1]]}', '{"tag":"a","shots":[["' + "x" * 5000 + '",0]],"on":false}'),
    *('{"name":"\\u0000"}', '{"name":"\\ud800"}', '{"name":1}', '{"name":"' + "n" * 5000 + '"}'),
)
_STATEMENTS = (
    *(
        "SELECT content FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "COPY media TO '{secret}'",
    ),
    *(
        "ATTACH '{secret}' AS x",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access=true",
        "SELECT 1;;;",
    ),
    *(
        "PRAGMA database_list",
        "SELECT * FROM glob('/**')",
        "SELECT getenv('HOME')",
        "EXPORT DATABASE '{secret}'",
    ),
    *(
        "SELECT * FROM '{secret}'",
        "SELECT * FROM range(100000000000) a",
        "SELECT 'nan'::DOUBLE, 'inf'::FLOAT",
    ),
    *(
        "SELECT repeat('x', 100000000)",
        "SELECT 1/0",
        "SELECT '\ud7ff'",
        "SELECT * FROM media",
        "CALL force_checkpoint()",
    ),
    *(
        "SELECT INTERVAL 1 YEAR, DATE '2000-01-01', '\\x00'::BLOB, MAP {1: 2}, [1, NULL]",
        "\0",
        "--",
        "SELECT",
    ),
    *(
        "SELECT uuid(), 170141183460469231731687303715884105727::HUGEINT, TIMESTAMP '290000-01-01'",
        "DROP TABLE media",
    ),
)
_RANGES = (
    "bytes=0-",
    "bytes=-1",
    "bytes=5-1",
    "bytes=0-0,2-2",
    "bytes=99999999999999999999-",
    "bytes=-",
    "x=1-2",
)


@dataclass(slots=True)
class _Target:
    """What requests are made of."""

    port: int
    token: str
    ids: list[str]
    secret: Path

    def filled(self, text: str, dice: random.Random) -> str:
        up = "../" * dice.randint(1, 12) + dice.choice((str(self.secret)[1:], "etc/passwd", "server.py"))
        words = {
            "{id}": dice.choice(
                (*self.ids, "x", "a" * 3000, quote("é\0"), "..", "%2e%2e", quote(up, safe=""))
            ),
            "{n}": dice.choice(("0", "1", "-1", "99999999999", "99999999999999999999", "x", "1.5")),
            "{up}": dice.choice(
                (up, quote(up, safe=""), up.replace("../", "%2e%2e/"), up.replace("/", "\\"))
            ),
            "{secret}": str(self.secret),
        }
        for word, value in words.items():
            text = text.replace(word, value)
        return text


def run_kind(seed: int, count: int) -> Iterator[tuple[int, list[Fault]]]:
    """How many requests were sent, and what came of them, batch by batch."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        folder = Path(name)
        (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
        dataset = make_folder(folder)
        command = [sys.executable, "-m", "framemill", "view", str(dataset.root)]
        environment = {**os.environ, "FRAMEMILL_CACHE_DIR": str(folder / "cache")}
        with (
            (folder / "said").open("wb") as said,
            subprocess.Popen(
                command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
            ) as server,
        ):
            try:
                assert server.stdout is not None
                url = urlsplit(server.stdout.readline().strip())
                token = parse_qs(url.query)["token"][0]
                ids = sorted(row["source_id"] for row in dataset_rows(dataset.root))
                target = _Target(url.port or 0, token, ids, folder / "secret.txt")
                first_mb = 0.0
                for first in range(0, count, BATCH):
                    numbers = range(first, min(first + BATCH, count))
                    faults = [fault for n in numbers for fault in _one(seed, n, target)]
                    if server.poll() is not None:
                        faults.append(("crashes", f"the server ended with {server.returncode}"))
                    said_of = (folder / "said").read_text("utf-8", "replace")
                    if "Traceback" in said_of:
                        faults.append(("crashes", f"{_tracebacks(said_of)}, among requests {numbers}"))
                        os.truncate(folder / "said", 0)
                    if server.poll() is None:
                        now_mb = _resident_mb(server.pid)
                        first_mb = first_mb or now_mb
                        if now_mb - first_mb > MOST_GROWTH_MB:
                            about = f"the server grew from {first_mb:.0f} to {now_mb:.0f} MB by {numbers}"
                            faults.append(("hangs", about))
                            first_mb = now_mb
                    yield len(numbers), faults
                    if server.poll() is not None:
                        return
            finally:
                server.kill()


def dataset_rows(root: object) -> list[dict[str, str]]:
    import framemill

    rows: list[dict[str, str]] = framemill.open(str(root)).table("media").to_pylist()
    return rows


def _tracebacks(said: str) -> str:
    """How many there are of each, and the last lines of the first."""
    parts = said.split("Traceback (most recent call last):\n")[1:]
    ends = Counter(next((line for line in part.splitlines() if line[:1].strip()), "") for part in parts)
    return f"{dict(ends)}: {parts[0][-1500:]}"


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _request(dice: random.Random, target: _Target) -> tuple[bytes, bool]:
    """A request, mostly one that the guard lets through, and whether it is sound HTTP."""
    method, path = dice.choice(_METHODS), dice.choice(_PATHS)
    if dice.random() < 0.2:
        method, path = "POST", dice.choice(("/api/sql", "/api/tags", "/api/people/{id}"))
    keys = _READ.get(path, _KEYS) if dice.random() < 0.8 else _KEYS
    path = target.filled(path, dice)
    chosen = dice.sample(keys, min(len(keys), dice.choice((0, 1, 1, 2, 4))))
    if chosen:
        pairs = [(key, target.filled(dice.choice(_VALUES), dice)) for key in chosen]
        pairs = [(k, dice.choice(target.ids) if k == "source" else v) for k, v in pairs]
        raw = dice.random() < 0.1
        path += "?" + "&".join(f"{k}={v if raw else quote(v, safe='')}" for k, v in pairs)
    host = f"127.0.0.1:{target.port}"
    headers = [("Host", host), ("Connection", "close")]
    headers += [("Cookie", f"framemill_{target.port}={target.token}")] * (dice.random() < 0.9)
    body = b""
    if method == "POST":
        headers += [("Origin", f"http://{host}"), ("Content-Type", "application/json")]
        body = _body(dice, target)
        headers.append(("Content-Length", str(len(body))))
    if dice.random() < 0.3:
        headers.append(("Range", dice.choice(_RANGES)))
    is_odd = dice.random() < 0.2
    if is_odd:
        odd = (
            *(("Host", "evil.example"), ("Cookie", "a=b; " * 500), ("Cookie", "\xff=\0"), ("Origin", "null")),
            *(("Content-Length", "-1"), ("Content-Length", "99999999999"), ("Transfer-Encoding", "chunked")),
            *(
                ("X" * 5000, "y"),
                ("X", "y" * 100_000),
                ("Content-Type", "text/plain"),
                ("Upgrade", "websocket"),
            ),
            *(("If-Range", "x"), ("If-None-Match", "*"), ("Expect", "100-continue"), ("Accept", "\0")),
            *(("If-Modified-Since", "Thu, 01 Jan 99999 00:00:00 GMT"), ("Accept-Encoding", "gzip;q=nan")),
        )
        headers.insert(dice.randint(0, len(headers)), dice.choice(odd))
    version = dice.choice(("1.1",) * 12 + ("1.0", "0.9", "2.0", "9.9"))
    head = f"{method} {path} HTTP/{version}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode("utf-8", "replace") + b"\r\n" + body, version == "1.1" and not is_odd


def _body(dice: random.Random, target: _Target) -> bytes:
    if dice.random() < 0.4:
        limit = {"limit": dice.choice((1, 200, 10_000))} if dice.random() < 0.5 else {}
        return json.dumps({"sql": target.filled(dice.choice(_STATEMENTS), dice), **limit}).encode()
    if dice.random() < 0.2:
        return dice.randbytes(dice.choice((1, 100, 10_000, 2_000_000)))
    return dice.choice(_BODIES).encode()


def _one(seed: int, number: int, target: _Target) -> Iterator[Fault]:
    """Sends the request of this number, and says what is wrong with the answer."""
    dice = random.Random(f"{seed} {number}")
    request, is_sound = _request(dice, target)
    manner = dice.choice(("whole",) * 25 + ("slow", "half", "half closed", "cut off", "bits", "twice"))
    about = f"request {seed}_{number:05} ({manner}): {request[:300]!r}"
    if manner == "bits":
        damaged = bytearray(request)
        for _ in range(dice.randint(1, 20)):
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        request = bytes(damaged)
    start = time.monotonic()
    must_answer = is_sound and manner in ("whole", "slow", "twice")
    answer = _sent(request, manner, target.port, dice, DEADLINE_SECONDS if must_answer else ODD_SECONDS)
    if answer is None and not must_answer:
        return  # it waits for the rest
    if answer is None:
        yield "hangs", f"{about}: no answer in {time.monotonic() - start:.0f} s"
        return
    status = answer[9:12]
    if must_answer and not answer:
        yield "crashes", f"{about}: the server hung up"
    if status == b"500":
        yield "crashes", f"{about}: {answer[-300:]!r}"
    if SECRET.encode() in answer or b"root:x:0:0" in answer:
        yield "escapes", f"{about}: answered with what stands outside of the folder"
    # What is no request of HTTP at all is answered before it reaches the pages.
    is_ours = status in (b"200", b"206", b"303") or (status[:1] == b"4" and b"application/json" in answer)
    if is_ours and b"content-security-policy: default-src 'none'" not in answer.lower():
        yield "broken", f"{about}: answered without the headers that guard a page"


def _sent(request: bytes, manner: str, port: int, dice: random.Random, seconds: float) -> bytes | None:
    """The answer, as much as there is of it; None where a whole request got none."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        answer = bytearray()
        try:
            if manner == "slow":
                for at in range(0, min(len(request), 300), 30):
                    connection.sendall(request[at : at + 30])
                    time.sleep(0.01)
                connection.sendall(request[300:])
            elif manner == "cut off":
                connection.sendall(request[: dice.randrange(len(request))])
                return b""
            elif manner in ("half", "half closed"):
                connection.sendall(request[: dice.randrange(len(request))])
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.sendall(request * 2 if manner == "twice" else request)
                if manner == "bits":  # which may have made it the beginning of a longer one
                    connection.shutdown(socket.SHUT_WR)
            while len(answer) < _MOST_ANSWER_BYTES and (more := connection.recv(1 << 16)):
                answer += more
            return bytes(answer)
        except TimeoutError:
            return None
        except OSError:  # it may refuse what it has not read to the end
            return bytes(answer) or _RESET
