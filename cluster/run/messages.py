"""What driver, worker processes and Ray actors send each other: declared types, in JSON between processes.

A file's path travels as bytes (`os.fsencode`), since a file system may hold names that are no UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from framemill.actors.shards import Shard
from framemill.actors.shortfalls import Delivered, Shortfall
from framemill.cluster.results.commits import Part, Refused
from framemill.errors import FramemillError
from framemill.plugins import Plugin

NumRows = Mapping[str, int]  # table -> rows made
Failures = Mapping[str, tuple[str, str]]  # operation -> class of the error, and its message
Earlier = Mapping[str, tuple[Part, ...]]  # operation -> parts of the dataset with its rows of a source
M = TypeVar("M")


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """What is common to all: values that do not change, named fields, and no others."""


class Failure(Message, frozen=True, kw_only=True):
    """An exception, as another process reports it.

    Attributes:
        error: name of its class. message: in words for a person.
        status: failed, unsupported or quarantined. transient: whether the next run tries again by itself.
        fatal: whether it concerns the whole run. trace: of what nobody expected; else empty.
    """

    error: str
    message: str
    status: str = "failed"
    transient: bool = False
    fatal: bool = False
    trace: str = ""


class Sandbox(Message, frozen=True, kw_only=True):
    """What a process that opens media may reach; see `cluster.run.sandbox`.

    Attributes:
        mode: auto, strict or off. reads, writes: paths that it may read; read and change; beside its own.
        open: layers that are left out on purpose -> why.
    """

    mode: str = "off"
    reads: tuple[bytes, ...] = ()
    writes: tuple[bytes, ...] = ()
    open: Mapping[str, str] = {}


class WorkerConfig(Message, frozen=True, kw_only=True):
    """What whoever works on shards has to know; the first line of a worker process's pipe.

    Attributes:
        root: result folder. run_id: name of the run. profile: path of the trace to write, or empty.
        keys: operation -> `PlannedOp.content_key`. options: operation -> every option with its value.
        after: operation -> what it comes after in this run. plugins: the operations that are not ours.
        models: role -> name or path, where not the default. sampling: the policy, as typed.
        shard_seconds: length of a piece of a long source. in_flight: shards worked on at once.
        threads: for models and decoders on the CPU. memory_bytes: limit of the process.
        wanted: operations that have something to compute.
        require_provider, precision, tracks: as in `ExtractRequest`, precision as sessions take it.
        sandbox: what it may reach.
    """

    root: str
    run_id: str
    keys: Mapping[str, str]
    options: Mapping[str, dict[str, Any]]
    after: Mapping[str, tuple[str, ...]]
    shard_seconds: float
    models: Mapping[str, str]
    sampling: str
    threads: int
    plugins: tuple[Plugin, ...] = ()
    wanted: tuple[str, ...] = ()
    tracks: tuple[str, str] = ("", "")
    in_flight: int = 1
    require_provider: str = ""
    precision: str = "fp32"
    memory_bytes: int = 0
    profile: str = ""
    sandbox: Sandbox = Sandbox()


class OpenSource(Message, frozen=True, kw_only=True):
    """Asks for the content id and the index of a file."""

    uri: str
    path: bytes


class Opened(Message, frozen=True, kw_only=True):
    """What a file holds.

    Attributes:
        source_id: content id; empty where the file could not even be read.
        duration_seconds: length of the media. shards: its pieces.
        picture_problem, sound_problem: why a track cannot be decoded, or empty. shortfall: why it holds less
            than its container states. failed: why there is no index; then only the content id is known.
        version: size in bytes and time of writing in nanoseconds of a local file as it was hashed.
    """

    source_id: str
    version: tuple[int, ...] = ()
    duration_seconds: float = 0.0
    shards: tuple[Shard, ...] = ()
    picture_problem: str = ""
    sound_problem: str = ""
    shortfall: Shortfall | None = None
    failed: Failure | None = None


class RunShard(Message, frozen=True, kw_only=True):
    """Asks for operations on one piece of a source, of which an earlier decode may have told the length.

    Attributes:
        version: as in `Opened`; rows of a file that has another now would be those of another content.
    """

    uri: str
    path: bytes
    source_id: str
    shard: Shard
    shard_index: int
    num_shards: int
    ops: tuple[str, ...]
    earlier: Earlier = {}
    threads: int = 1
    duration_seconds: float | None = None
    version: tuple[int, ...] = ()


class ShardDone(Message, frozen=True, kw_only=True):
    """What came of a piece.

    Attributes:
        rows: of operations whose rows are whole; those of a divided source come with its merge.
        failures, traces: of operations that gave nothing. shortfall: why the piece is incomplete, or None.
        delivered: what its decode gave. frames: frames decoded. decoder: who decoded them, if a device could.
    """

    shard_index: int
    rows: NumRows = {}
    failures: Failures = {}
    traces: tuple[str, ...] = ()
    shortfall: Shortfall | None = None
    delivered: Delivered = Delivered()
    frames: int = 0
    decoder: str = ""


class Merge(Message, frozen=True, kw_only=True):
    """Asks for the rows of a divided source from what its pieces gave."""

    uri: str
    path: bytes
    source_id: str
    ops: tuple[str, ...]
    num_shards: int
    earlier: Earlier = {}
    duration_seconds: float | None = None


class Merged(Message, frozen=True, kw_only=True):
    """What came of a merge; as in `ShardDone`."""

    rows: NumRows = {}
    failures: Failures = {}
    traces: tuple[str, ...] = ()


class MediaRow(Message, frozen=True, kw_only=True):
    """A row of `media` to write."""

    uri: str
    source_id: str
    status: str
    delivered: Delivered = Delivered()


class ErrorRow(Message, frozen=True, kw_only=True):
    """A row of `errors` to write; the columns of `ERRORS_SCHEMA`."""

    source_id: str | None
    uri: str
    operation: str
    status: str
    error: str
    message: str
    attempts: int
    kind: str | None = None


class RunRow(Message, frozen=True, kw_only=True):
    """A row of `runs` to write; the columns of `RUNS_SCHEMA`, times in milliseconds since 1970, UTC."""

    run_id: str
    started_at: int
    finished_at: int
    engine: str
    exit_code: int
    options: str
    providers: Mapping[str, str]
    sessions: Mapping[str, str]
    decoders: Mapping[str, list[str]]
    device_memory_bytes: int
    seconds: Mapping[str, float]
    rows: NumRows
    num_files: int
    num_cached: int
    num_failed: int
    elapsed_seconds: float
    versions: Mapping[str, str]


class Drop(Message, frozen=True, kw_only=True):
    """A part that is to be written again without the rows of some owners."""

    part: Part
    owners: tuple[str, ...]


class Write(Message, frozen=True, kw_only=True):
    """Asks for hidden parts.

    Attributes:
        media, errors, runs: rows that the driver knows. drops: parts that are replaced.
        tables: operation -> sources whose finished rows go in.
    """

    media: tuple[MediaRow, ...] = ()
    errors: tuple[ErrorRow, ...] = ()
    runs: tuple[RunRow, ...] = ()
    tables: Mapping[str, tuple[str, ...]] = {}
    drops: tuple[Drop, ...] = ()


class Written(Message, frozen=True, kw_only=True):
    """The parts that are there now, hidden until a commit names them; or none, and what was refused."""

    parts: tuple[Part, ...] = ()
    refused: tuple[Refused, ...] = ()


class Forget(Message, frozen=True, kw_only=True):
    """A source is finished or given up: what is held for it can go."""

    uri: str


class Report(Message, frozen=True, kw_only=True):
    """Asks for `Figures`, and for the trace where one is kept."""


class Figures(Message, frozen=True, kw_only=True):
    """All that a worker did since its start.

    Attributes:
        frames: frames decoded. seconds: stage or operation -> seconds of work, added over threads.
        providers: model role -> what runs it. notes: per model, what was tried and what came of it.
        sessions: model role -> state of it. device_memory_bytes: most in use at once, by whomever.
    """

    frames: int = 0
    seconds: Mapping[str, float] = {}
    providers: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    sessions: Mapping[str, dict[str, Any]] = {}
    device_memory_bytes: int = 0


class Request(Message, frozen=True, kw_only=True):
    """One line to a worker process; its answer carries the same `id`."""

    id: int
    task: OpenSource | RunShard | Merge | Write | Forget | Report


class Ready(Message, frozen=True, kw_only=True):
    """The worker process has its configuration and begins.

    Attributes:
        sandbox: layer of its sandbox -> why it does not hold, empty where it does; none where it is off.
    """

    pid: int
    sandbox: Mapping[str, str] = {}


class Preparing(Message, frozen=True, kw_only=True):
    """The worker process does what takes minutes before it begins; `text` is for a person."""

    text: str


class Answer(Message, frozen=True, kw_only=True):
    """What came of a request: `failed`, or else `done`."""

    id: int
    done: Opened | ShardDone | Merged | Written | Figures | None = None
    failed: Failure | None = None


Reply = Ready | Preparing | Figures | Answer


def encode(message: Message) -> bytes:
    """A message as one line of JSON, without the end of the line."""
    return msgspec.json.encode(message)


def decode(line: bytes | str, kind: type[M]) -> M:
    """What `encode` made, of this kind or a union of kinds; FramemillError where another version made it."""
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise FramemillError(
            f"another process sent what this version of Framemill does not understand ({exc}): "
            "install the same version on every machine, and start anew"
        ) from exc


def decode_reply(line: bytes) -> Reply:
    """What a worker process sent; see `decode`."""
    return cast(Reply, decode(line, cast(Any, Reply)))
