"""What a worker process of the local engine does: it runs shards behind a pipe.

The supervisor writes one message a line to its standard input, the first one the configuration; the worker
answers on its standard output (`cluster.run.messages`), and tells its figures meanwhile. It ends when its
input ends.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from framemill.cluster.results.storage import name_root
from framemill.cluster.run.devices import leave_if_lost
from framemill.cluster.run.failures import describe_failure
from framemill.cluster.run.messages import (
    Answer,
    Figures,
    Forget,
    Merge,
    Merged,
    Message,
    Opened,
    OpenSource,
    Preparing,
    Ready,
    Report,
    Request,
    RunShard,
    ShardDone,
    WorkerConfig,
    Write,
    Written,
    decode,
    encode,
)
from framemill.cluster.run.part_writer import PartWriter
from framemill.cluster.run.sandbox import enter
from framemill.cluster.run.shard_runner import ShardRunner

PROGRESS_SECONDS = 0.25
SPARE_THREADS = 8  # for merging, writing and reporting beside reading


class PipeWorker:
    """Answers requests, each in a thread of its caller's."""

    def __init__(self, config: WorkerConfig, out: BinaryIO) -> None:
        self._runner = ShardRunner(config)
        self._writer = PartWriter(name_root(config.root), config.run_id, config.keys)
        self._out = out
        self._lock = threading.Lock()

    def answer(self, request: Request) -> None:
        """Does what one request asks for, and sends the answer."""
        try:
            self.send(Answer(id=request.id, done=self._do(request)))
        except BaseException as error:
            leave_if_lost(error)
            self.send(Answer(id=request.id, failed=describe_failure(error)))

    def prepare(self) -> None:
        """Does what takes long and is no shard's work, and tells of it."""
        self._runner.prepare(lambda text: self.send(Preparing(text=text)))

    def send(self, message: Message) -> None:
        """Sends one message to the supervisor."""
        line = encode(message) + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()

    def send_figures(self) -> None:
        """Sends the figures now and then, for as long as the process lives."""
        while True:
            time.sleep(PROGRESS_SECONDS)
            self.send(self._runner.figures())

    def _do(self, request: Request) -> Opened | ShardDone | Merged | Written | Figures | None:
        match request.task:
            case OpenSource() as task:
                return self._runner.sources.open(task)
            case RunShard() as task:
                return self._runner.run(task)
            case Merge() as task:
                return self._runner.merge(task)
            case Write() as task:
                with self._runner.trace.span("write"):
                    return self._writer.write(task, self._runner.finished, self._runner.sources.describe)
            case Forget(uri=uri):
                self._runner.sources.forget(uri)
                return None
            case Report():
                self._runner.write_trace()
                return self._runner.figures()


def serve() -> None:
    """Serves the pipe until it closes, and ends the process."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    first = sys.stdin.buffer.readline()
    if not first:
        return  # there was nothing to do after all
    config = decode(first, WorkerConfig)
    layers = enter(config)  # before anything starts a thread, which would stay outside
    worker = PipeWorker(config, out)
    # What was imported until now stays: no search for garbage needs to look at it ever again.
    gc.freeze()
    gc.enable()
    worker.prepare()
    worker.send(Ready(pid=os.getpid(), sandbox=layers))
    threading.Thread(target=worker.send_figures, daemon=True).start()
    # Nothing may have to wait for a thread: what waits is timed as if it worked.
    with ThreadPoolExecutor(2 * config.in_flight + SPARE_THREADS, thread_name_prefix="shard") as pool:
        for line in sys.stdin.buffer:
            pool.submit(worker.answer, decode(line, Request))
        os._exit(0)  # shards still at work belong to nobody now
