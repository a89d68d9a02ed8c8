"""A process that reads the rows of the viewer's table, so that the server stays small and answers meanwhile.

Joining all tables of some hundred files takes DuckDB memory that a process never gives back; this one ends
when the table is up to date. What goes to and fro are frames: the length of what follows, and bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO

import pyarrow as pa

from framemill.cluster.machine import import_root
from framemill.cluster.results.commits import DatasetState, commit_from_json, commit_to_json
from framemill.cluster.results.storage import ResultPath, open_root
from framemill.cluster.view.shot_table import read_shots
from framemill.errors import DatasetError, FramemillError

_LENGTH_BYTES = 8
_GIVEN, _REFUSED = b"+", b"-"


class ShotWorker:
    """The process, from the server's side; it is started by the first question."""

    def __init__(self, root: ResultPath) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ShotWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process, in the middle of its work where it has some."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def read_shots(self, state: DatasetState) -> tuple[pa.Table, pa.Table]:
        """What `shot_table.read_shots` gives.

        Raises:
            DatasetError: a part is gone or damaged, or the process has ended.
        """
        if self._process is None:
            path = os.pathsep.join(filter(None, [str(import_root()), os.environ.get("PYTHONPATH", "")]))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "framemill.cluster.view.shot_worker", str(self._root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the server, which ends it
            )
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None and answered is not None
        with suppress(BrokenPipeError):
            _write(asked, commit_to_json(state.as_commit("view")))
        kind = _read(answered)
        if kind == _GIVEN:
            return _table(_read(answered)), _table(_read(answered))
        if kind == _REFUSED:
            raise DatasetError(_read(answered).decode())
        raise DatasetError(
            f"the process that reads the shots of {self._root} has ended ({self._process.wait()}): "
            "give it more memory, or start `framemill view` again"
        )


def main() -> None:
    """Answers until nothing more is asked."""
    os.nice(10)  # whoever looks at pages comes first
    pa.set_memory_pool(pa.system_memory_pool())  # as the server
    root = open_root(sys.argv[1])
    asked, answered = sys.stdin.buffer, sys.stdout.buffer
    with suppress(BrokenPipeError):  # the server has ended
        while data := _read(asked):
            _answer(root, data, answered)


def _answer(root: ResultPath, data: bytes, answered: IO[bytes]) -> None:
    state = DatasetState()
    state.apply(commit_from_json(data, "of the server"))
    try:
        tables = read_shots(root, state)
    except FramemillError as exc:
        _write(answered, _REFUSED)
        _write(answered, str(exc).encode())
        return
    _write(answered, _GIVEN)
    for table in tables:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        _write(answered, sink.getvalue())


def _write(stream: IO[bytes], data: bytes | pa.Buffer) -> None:
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """The next frame; empty where the other side has ended."""
    length = stream.read(_LENGTH_BYTES)
    return stream.read(int.from_bytes(length, "little")) if len(length) == _LENGTH_BYTES else b""


def _table(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


if __name__ == "__main__":
    main()
