"""Statements of users in a process of their own, which is ended when one takes too long or too much memory.

DuckDB keeps its limit of memory and heeds an interrupt between batches of rows alone: `repeat('x', 1e10)` is
one call, which takes what there is and cannot be broken off (measured: 4.6 GB under a limit of 0.5). The
process serves one statement after another, since to start it takes longer than most of them. What goes to and
fro are frames: the length of what follows, and bytes.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from framemill.cluster.machine import import_root, memory_bytes
from framemill.cluster.results.answers import (
    ENGINE_MEMORY_SHARE,
    LEAST_SQL_BYTES,
    MOST_HELD_ROWS,
    MOST_ROWS,
    MOST_SQL_BYTES,
    SQL_MEMORY_SHARE,
    SQL_SECONDS,
    QueryResult,
    QueryStream,
    Row,
)
from framemill.errors import DatasetError, FramemillError, LeaseError, SetupError, UsageError

if TYPE_CHECKING:
    from framemill.cluster.results.remote_path import RemotePath

_LENGTH_BYTES = 8
_LOOK_SECONDS = 0.05  # a process fills a few hundred megabytes in it
_ROWS_AT_ONCE = 2048
_START_SECONDS = 120.0
_READY, _COLUMNS, _ROWS, _END, _REFUSED = b"i", b"c", b"r", b"e", b"-"
_ERRORS = {kind.__name__: kind for kind in (UsageError, DatasetError, LeaseError, SetupError)}
# What values of DuckDB are in Python, beside its own plain types: nothing else is unpickled.
_CLASSES = {
    ("datetime", "date"), ("datetime", "datetime"), ("datetime", "time"), ("datetime", "timedelta"),
    ("datetime", "timezone"), ("decimal", "Decimal"), ("uuid", "UUID"), ("uuid", "SafeUUID"),
}  # fmt: skip


def query_bounded(
    root: str | os.PathLike[str] | RemotePath,
    sql: str,
    limit: int | None = None,
    seconds: float = SQL_SECONDS,
    memory: int = 0,
) -> QueryResult:
    """As `stream_bounded`, with all rows held: `limit` at most, where that is None `MOST_HELD_ROWS`.

    Raises:
        UsageError: also where there are more rows and no limit was given.
    """
    with stream_bounded(root, sql, MOST_HELD_ROWS + 1 if limit is None else limit, seconds, memory) as stream:
        rows = list(stream.rows)
    if limit is None and len(rows) > MOST_HELD_ROWS:
        raise UsageError(
            f"the answer has more than {MOST_HELD_ROWS} rows, which are not held without being asked for: "
            "give the `limit` that you want, or let `framemill sql --csv` write them"
        )
    return QueryResult(stream.columns, rows)


@contextmanager
def stream_bounded(
    root: str | os.PathLike[str] | RemotePath,
    sql: str,
    limit: int | None = None,
    seconds: float = SQL_SECONDS,
    memory: int = 0,
) -> Iterator[QueryStream]:
    """Answers one reading statement, as `queries.stream_query` does; rows can be had inside of the block.

    Args:
        limit: most rows to give, 0 or more; None for all, up to `MOST_ROWS`.
        seconds: how long the process may work for it, > 0; what the caller does between rows does not count.
        memory: bytes that the process may take, at least `LEAST_SQL_BYTES`; 0 for a share of the machine's.

    Raises:
        UsageError: a limit is out of range or was crossed, or what `queries.stream_query` calls so.
        DatasetError: a part cannot be read.
        SetupError: no process can be started.
        FramemillError: the statement ended the process in another way.
    """
    if memory and memory < LEAST_SQL_BYTES:
        raise UsageError(f"{memory} bytes of memory: a statement needs {LEAST_SQL_BYTES} at least")
    if not seconds > 0:
        raise UsageError(f"{seconds:g} seconds: give more than 0")
    size = len(sql.encode(errors="replace"))
    if size > MOST_SQL_BYTES:
        raise UsageError(f"the statement has {size} bytes; at most {MOST_SQL_BYTES} are read")
    memory = memory or max(LEAST_SQL_BYTES, int(SQL_MEMORY_SHARE * memory_bytes()))
    process = _take()
    try:
        # One row more than is allowed tells that there are more.
        asked = {"root": str(root), "sql": sql, "limit": MOST_ROWS + 1 if limit is None else limit}
        engine = int(memory * ENGINE_MEMORY_SHARE / SQL_MEMORY_SHARE)
        stream = process.ask({**asked, "memory": engine}, seconds, memory)
        yield QueryStream(stream.columns, stream.rows if limit is not None else _no_more(stream.rows))
    finally:
        _put_back(process)


def _no_more(rows: Iterator[Row]) -> Iterator[Row]:
    yield from islice(rows, MOST_ROWS)
    if next(rows, None) is not None:
        raise UsageError(f"the answer has more than {MOST_ROWS} rows: ask for as many as you want by a limit")


class _SqlProcess:
    """The process, from the side of who asks."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(import_root()), os.environ.get("PYTHONPATH", "")]))
        self._surroundings = _surroundings()
        self.is_idle = True
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  closed by end()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "framemill.cluster.results.sql_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for who asked, who ends it
            )
        except OSError as exc:
            raise SetupError(f"no process can be started for a statement ({exc.strerror})") from exc
        self._left = self._allowed = _START_SECONDS
        self._memory = sys.maxsize
        self._receive()  # what a statement may take begins when the engine is there

    @property
    def is_usable(self) -> bool:
        """Whether it can answer a statement, and would do so as one that was started now."""
        return self.is_idle and self._process.poll() is None and self._surroundings == _surroundings()

    def end(self) -> None:
        """Ends the process, in the middle of its work where it has some."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def ask(self, question: dict[str, Any], seconds: float, memory: int) -> QueryStream:
        assert self._process.stdin is not None
        self.is_idle = False
        self._left, self._allowed, self._memory = seconds, seconds, memory
        with suppress(BrokenPipeError):
            _write(self._process.stdin, json.dumps(question).encode())
        kind, data = self._receive()
        assert kind == _COLUMNS
        return QueryStream(tuple(_unpickle(data)), self._rows())

    def _rows(self) -> Iterator[Row]:
        while True:
            kind, data = self._receive()
            if kind == _END:
                self.is_idle = True
                return
            yield from _unpickle(data)

    def _receive(self) -> tuple[bytes, bytes]:
        length = int.from_bytes(self._read(_LENGTH_BYTES), "little")
        data = self._read(length)
        if data[:1] == _REFUSED:
            self.is_idle = True
            name, message = json.loads(data[1:])
            raise _ERRORS.get(name, FramemillError)(message)
        return data[:1], data[1:]

    def _read(self, size: int) -> bytes:
        """So many bytes of what the process writes, while it stays within its limits."""
        assert self._process.stdout is not None
        pipe, data = self._process.stdout.fileno(), bytearray()
        while len(data) < size:
            started = time.monotonic()
            ready, _, _ = select.select([pipe], [], [], min(_LOOK_SECONDS, max(0.0, self._left)))
            self._left -= time.monotonic() - started
            if ready:
                got = os.read(pipe, min(size - len(data), 1 << 20))
                if not got:
                    self._tell_death()
                data += got
            elif self._left <= 0:
                raise UsageError(
                    f"the statement took longer than {self._allowed:g} seconds: ask for less of it, or allow "
                    "it more (`timeout`)"
                )
            elif self._takes() > self._memory:
                raise UsageError(
                    f"the statement took more than {self._memory >> 20} MiB of memory: ask for less at once, "
                    "or allow it more (`memory`)"
                )
        return bytes(data)

    def _takes(self) -> int:
        """Bytes of memory of its own."""
        import psutil  # not needed by short statements

        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0  # it ended, as the pipe tells

    def _tell_death(self) -> None:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read()[-500:].decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        how = f"exit code {code}"
        if code < 0:
            with suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
        raise FramemillError(
            f"the statement ended the process that answers it ({how}; it said: {said[0]}); nothing else was "
            "touched: write it in another way"
        )


def _surroundings() -> tuple[object, ...]:
    """What a process takes over at its start."""
    try:
        return dict(os.environ), os.getcwd()
    except FileNotFoundError:
        return dict(os.environ), None  # somebody removed the folder


# The one that is kept for the next statement.
_idle: list[_SqlProcess] = []
_lock = threading.Lock()
os.register_at_fork(after_in_child=_idle.clear)  # there it is somebody else's


def _take() -> _SqlProcess:
    with _lock:
        found = _idle.pop() if _idle else None
    if found is not None and not found.is_usable:
        found.end()
        found = None
    return found or _SqlProcess()


def _put_back(process: _SqlProcess) -> None:
    with _lock:
        if process.is_usable and not _idle:
            _idle.append(process)
            return
    process.end()


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CLASSES:
            raise FramemillError(f"a value of the unknown kind {module}.{name}: cast it to another")
        return super().find_class(module, name)


def _unpickle(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(data)
    stream.flush()


def _read_frame(stream: IO[bytes]) -> bytes:
    """The next frame; empty where the other side has ended."""
    length = stream.read(_LENGTH_BYTES)
    return stream.read(int.from_bytes(length, "little")) if len(length) == _LENGTH_BYTES else b""


def main() -> None:
    """Answers until nothing more is asked; ends at once when nobody is there any more."""
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers

    def listen() -> None:
        while data := _read_frame(sys.stdin.buffer):
            questions.put(data)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    importlib.import_module("framemill.cluster.results.queries")  # with the engine
    _write(out, _READY)
    try:
        while True:
            _answer(json.loads(questions.get()), out)
    except BaseException:
        # In order Python cannot end while a thread reads: it would abort, and that were all that is told.
        traceback.print_exc()
        os._exit(1)


def _answer(question: dict[str, Any], out: IO[bytes]) -> None:
    from framemill.cluster.results.queries import stream_query

    try:
        with stream_query(question["root"], question["sql"], question["memory"]) as stream:
            _write(out, _COLUMNS + pickle.dumps(stream.columns))
            rows = islice(stream.rows, question["limit"])
            while batch := list(islice(rows, _ROWS_AT_ONCE)):
                _write(out, _ROWS + pickle.dumps(batch))
    except FramemillError as exc:
        _write(out, _REFUSED + json.dumps([type(exc).__name__, str(exc)]).encode())
    else:
        _write(out, _END)


if __name__ == "__main__":
    from framemill.cluster.without_pandas import without_pandas

    with without_pandas():
        main()
