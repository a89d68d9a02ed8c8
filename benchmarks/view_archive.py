"""How fast `framemill view` answers over a large result folder, and how much memory it takes.

`python -m benchmarks.view_archive OUT` asks a server of its own, first as soon as it listens, then when its
table of shots is there, which takes minutes the first time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

REPEATS = 5
FILTERS: Mapping[str, Mapping[str, Any]] = {
    "no filter": {},
    "a label": {"facets": {"label": ["dog"]}},
    "three facets": {"facets": {"label": ["dog", "cat"], "faces": ["1"], "length": ["4-8 s"]}},
    "a condition": {"where": "num_faces = 1 AND sharpness > 100"},
    "words": {"words": "kara"},
    "words, condition and facet": {
        "words": "losa",
        "where": "list_contains(labels, 'person')",
        "facets": {"speech": ["with"]},
    },
}


@contextmanager
def _server(out: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "framemill", "view", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with httpx.Client(trust_env=False, follow_redirects=True, timeout=600) as client:
                client.get(url)
                client.base_url = httpx.URL(url).copy_with(query=None)
                yield process, client
        finally:
            process.terminate()


def _ask(client: httpx.Client, path: str, **query: Any) -> tuple[float, Any]:
    """Milliseconds, and the answer."""
    if "filter" in query:
        query["filter"] = json.dumps(query["filter"])
    start = time.perf_counter()
    answer = client.get(f"/api/{path}", params=query)
    answer.raise_for_status()
    return (time.perf_counter() - start) * 1000, answer.json()


def _megabytes(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Asks a viewer of OUT, and prints how long it took.")
    parser.add_argument("out", help="a result folder, as benchmarks.made_archive makes it")
    out = parser.parse_args().out
    with _server(out) as (process, client):
        for path in ("shots", "files", "overview"):
            milliseconds, answer = _ask(client, path)
            print(f"first {path}: {milliseconds:.0f} ms, {answer.get('total', '')}")
        start = time.perf_counter()
        while not (index := _ask(client, "sequence")[1]["index"])["ready"]:
            assert "problem" not in index, index
            time.sleep(0.5)
        print(f"table of shots: {time.perf_counter() - start:.0f} s, {_megabytes(process)} MB at most")
        for name, wanted in FILTERS.items():
            for path, query in (
                ("shots", {}),
                ("shots", {"sort": "-sharpness"}),
                ("facets", {}),
                ("files", {}),
            ):
                # The first time nothing of it is known; a server remembers what it looked through.
                times = [_ask(client, path, filter=wanted, **query)[0] for _ in range(REPEATS)]
                what = " ".join((path, *query.values()))
                print(f"{name}, {what}: {times[0]:.0f} ms, again {statistics.median(times[1:]):.0f} ms")
            print(f"{_megabytes(process)} MB at most")
        shot = _ask(client, "shots")[1]["rows"][0]
        asked: Mapping[str, dict[str, Any]] = {
            f"files/{shot['source']}": {},
            f"boxes/{shot['source']}": {"start": 0, "end": 60},
            "similar": {"source": shot["source"], "frame": shot["frame"]},
            **{path: {} for path in ("people", "duplicates", "errors", "runs", "tags", "overview")},
        }
        for path, query in asked.items():
            took = _ask(client, path, **query)[0]
            print(f"{path.partition('/')[0]}: {took:.0f} ms, {_megabytes(process)} MB at most")


if __name__ == "__main__":
    main()
