"""What a person asks of `extract`, what it reports while it runs, and what it answers at the end."""

from __future__ import annotations

import numbers
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from framemill.cluster.choices import Engine, Precision, Provider, Quality, Sandbox, Topology
from framemill.errors import UsageError

# Kinds of values, with what errors say is allowed; a number may be infinite nowhere.
Count = Annotated[int, Meta(ge=0, description="a whole number of 0 or more")]
Amount = Annotated[float, Meta(ge=0, le=sys.float_info.max, description="a number of 0 or more")]
Factor = Annotated[float, Meta(gt=0, le=sys.float_info.max, description="a number above 0")]
Span = Annotated[str, Meta(description="a text such as '4' or '1-16'")]
Names = Annotated[tuple[str, ...], Meta(description="a list of names, such as ['media', 'frames']")]
Sources = Annotated[tuple[str, ...], Meta(description="a path, or a list of paths, globs and @lists")]
Track = Annotated[
    str,
    Meta(
        pattern=r"^(\d{1,3}|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$",
        description="the index of a stream as a text, such as '1', or a language, such as 'eng'",
    ),
]
Tolerance = Annotated[
    str,
    Meta(
        pattern=r"^(all|\d{1,12}|\d{1,3}(\.\d{1,9})?%)?$",
        description="a number of files as a text, such as '10', a share of them, such as '5%', or 'all'",
    ),
]
Choices = Annotated[Mapping[str, str], Meta(description="a mapping of roles to names or paths as texts")]
OptionsOf = Annotated[
    Mapping[str, Mapping[str, Any]],
    Meta(description="a mapping of operations to their options, such as {'frames': {'images': True}}"),
]
# State of a model's session; see `framemill.actors.session_stats`.
SessionStats = Mapping[str, Any]
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
_TRUTH = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractRequest:
    """One run of the main job. Values are as given; `framemill.cluster.run.planning` checks them.

    Attributes:
        sources: files, folders, globs and `@list.txt`, as typed.
        output: result folder.
        ops: operation names, or package.module:Class; empty means `framemill.ops.DEFAULT_OPS`.
        sample: sampling policy: keyframes, keyframes:N, every:SECONDS, scenes, adaptive or all.
        video_track, audio_track: which picture and sound stream of each file is taken, by its index in
            `media.streams` or its language; empty for the one that players take.
        cascade: of the operations above, those that see only the best of the sampled frames.
        options: per operation, option name -> value, such as {"frames": {"images": True}}.
        models: role -> registry name or path, such as {"objects": "yolox_nano"}.
        quality: fast, balanced or best: which model of each role is taken where `models` names none.
        spare: operations and roles of the two above that may go unused, since a configuration file that
            serves several commands names them; any other is refused.
        engine: auto, local or ray; auto is ray inside a Ray job or where an address is given, else local.
        address: of a Ray cluster; empty for that of the surrounding job, or one started here.
        actors: on Ray, how many actors work: N, or MIN-MAX for as many as there is work for; empty for
            all that fit.
        actor_cpus: CPUs that each of them holds; 0 means up to 4, or with a GPU what its node has for each.
        actor_gpus: GPUs that each of them holds, also a fraction; 0 for none; None for one where a model runs
            and the cluster has GPUs, else none.
        actors_per_gpu: actors that share a GPU and its memory; 0 for as `actor_gpus` says.
        topology: on Ray, fused (actors decode themselves) or split (a pool of CPU actors decodes for them).
        decoders: in the split topology, how many actors decode, written as `actors` is.
        decoder_cpus: CPUs that each of those holds; 0 means 1.
        stall_seconds: on Ray, after so long without any work a message says what waits for what.
        room_seconds: on Ray, after so long without any work the run ends; what is committed stays.
        require_provider: tensorrt, cuda, coreml, openvino or cpu: anything else that runs is an error.
        precision: fp32; fp16 where a GPU may compute in halves, if that is within bounds there; int8 for the
            variants that `models quantize` made; auto for those of them that are faster on this CPU.
        accept_licence: models that are not for commercial use, or perhaps not, may be used.
        replace: recompute tables whose operation key differs instead of refusing. The rows of a source go in
            the commit that brings the new ones; where it fails they stay.
        replace_all: the same where the tables hold rows of other sources, too: those go when all is done.
        retry_failed: also try again what failed for good.
        tolerate_failures: so many sources may be failed or partial without exit code 3: N, P% of all, or all;
            empty for none. Where nothing at all is usable, the exit code stays 4.
        keep_bytes: after the run, prune the least recently used sources until the tables fit.
        threads: CPU threads in all; 0 means the cores this process may use.
        memory_bytes: memory the worker may use; 0 means a share of the machine's.
        deadline_factor: a shard may take 120 s plus this many times its duration.
        sandbox: auto, strict or off: whether what opens media is kept from everything else, as far as this
            machine can; strict refuses to run where a layer is missing.
        sandbox_allow: further files and folders that it may read and change, such as those that an operation
            of one's own uses.
        profile: path of a trace file to write, or empty.
        verbosity: -1 quiet, 0 normal, 1 verbose, 2 everything.
    """

    sources: Sources
    output: Annotated[str, Meta(description="a path")]
    ops: Names = ()
    sample: str = "keyframes"
    video_track: Track = ""
    audio_track: Track = ""
    cascade: Names = ()
    options: OptionsOf = field(default_factory=dict)
    models: Choices = field(default_factory=dict)
    quality: Quality = "balanced"
    spare: Names = ()
    engine: Engine = "auto"
    address: str = ""
    actors: Span = ""
    actor_cpus: Amount = 0.0
    actor_gpus: Amount | None = None
    actors_per_gpu: Count = 0
    topology: Topology = "fused"
    decoders: Span = ""
    decoder_cpus: Amount = 0.0
    stall_seconds: Factor = 120.0
    room_seconds: Factor = 600.0
    require_provider: Provider = ""
    precision: Precision = "fp32"
    accept_licence: bool = False
    replace: bool = False
    replace_all: bool = False
    retry_failed: bool = False
    tolerate_failures: Tolerance = ""
    keep_bytes: Count = 0
    threads: Count = 0
    memory_bytes: Count = 0
    deadline_factor: Factor = 60.0
    sandbox: Sandbox = "auto"
    sandbox_allow: Names = ()
    profile: str = ""
    verbosity: Annotated[int, Meta(ge=-1, le=2, description="-1, 0, 1 or 2")] = 0

    @property
    def replaces(self) -> bool:
        """Whether rows of other settings may be replaced."""
        return self.replace or self.replace_all

    def tolerates(self, num_failed: int, num_files: int) -> bool:
        """Whether so many failed or partial sources, of so many in all, leave the exit code at 0."""
        if self.tolerate_failures.endswith("%"):
            return 100 * num_failed <= float(self.tolerate_failures[:-1]) * num_files
        if self.tolerate_failures == "all":
            return True
        return num_failed <= int(self.tolerate_failures or 0)

    @property
    def reads_subtitles_alone(self) -> bool:
        """Whether `transcript` reads nothing else: then files of subtitles in folders are sources, too."""
        return "transcript" in self.ops and self.options.get("transcript", {}).get("origin") == "subtitles"


def kinds_of_fields() -> dict[str, Any]:
    """Field of `ExtractRequest` -> the annotated type of its values."""
    return get_type_hints(ExtractRequest, include_extras=True)


def convert(place: str, value: Any, kind: Any, *, is_text: bool = False) -> Any:
    """`value` as what `kind` declares.

    Args:
        place: where it stands, as errors begin.
        kind: a type, a Literal, or either annotated with `msgspec.Meta`.
        is_text: whether it may come from a text, in which numbers and switches are spelt out.

    Raises:
        UsageError: it does not fit.
    """
    plain = value
    if is_text and isinstance(value, str) and kind is not str:
        word = value.strip()
        plain = _TRUTH.get(word.lower(), word) if kind is bool else word
    elif isinstance(value, numbers.Number) and hasattr(value, "item"):
        plain = value.item()  # a NumPy scalar
    try:
        return msgspec.convert(plain, kind, strict=not is_text)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}{reprlib.repr(value)} is not {_allowed(kind)}") from error


def _allowed(kind: Any) -> str:
    for one in (kind, *get_args(kind)):  # the latter where it may be None
        for meta in getattr(one, "__metadata__", ()):
            return str(meta.description)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(filter(None, get_args(kind)))}"
    # Of what may be left out, the kind that it has else.
    return _WORDS[next(iter(get_args(kind)), kind)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """How far a run is.

    Attributes:
        files_done, files_total: sources finished (in any way) and asked for; cached ones count as done.
        files_failed: of those done, how many have an error row.
        frames: frames decoded so far; rows: rows made so far.
        media_seconds_done, media_seconds_total: length of what is finished and of all that is known.
        work_done, work_total: the same in seconds of work as it is planned and expected; a total of 0 where
            nothing can be said yet, None where work is not weighed.
        elapsed_seconds: since the run began.
        file: uri that has been at work longest; slowest: operation that took most of the time; or empty.
        stage: a word for what happens now (listing, extracting, committing, ...).
    """

    files_done: int
    files_total: int
    files_failed: int
    frames: int
    rows: int
    media_seconds_done: float
    media_seconds_total: float
    elapsed_seconds: float
    stage: str
    work_done: float = 0.0
    work_total: float | None = None
    file: str = ""
    slowest: str = ""


class Reporter(Protocol):
    """Where progress and messages go; the command line shows them, the API may ignore them."""

    def progress(self, snapshot: Snapshot) -> None:
        """Called a few times a second at most, from one thread."""

    def message(self, level: int, text: str) -> None:
        """Level -1 always shown (errors), 0 normal, 1 verbose, 2 everything."""


class SilentReporter:
    """Shows nothing."""

    def progress(self, snapshot: Snapshot) -> None: ...

    def message(self, level: int, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What a run did; `--json` prints it.

    Attributes:
        run_id: name of the run in `runs` and in part names.
        exit_code: 0 ok, 3 more inputs failed or are partial than `tolerate_failures` says, 4 no usable input;
            interrupted: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
        files_total, files_computed, files_cached, files_failed, files_partial, files_skipped: counts of
            sources; skipped ones were found in folders and are no media; failed and partial ones may be known
            from an earlier run.
        files_ok: computed in full. files_copies: files with the content of another, so that it was there or
            came with it. files_not_reached: left when a person interrupted the run. With the failed and the
            partial, the rest of files_total was there already.
        partial_kinds: what the partial ones lack -> how many (see `LossKind`); cut_short, damaged_pictures,
            missing_sound, damaged_subtitles, or unknown where an earlier version did not tell.
        rows: rows written per table. seconds: wall-clock seconds per stage.
        providers: per model role, the execution provider that ran.
        sessions: per model role, the state of its session (column of `runs`).
        decoders: who decoded frames, and why where it was not the device -> uris.
        device_memory_bytes: the most device memory in use at once.
        clips: where clips were asked for, what was made: the fields of `cluster.clips.making.ClipsReport` but
            its rows; else empty.
        errors: the first 20 failures as {uri, operation, status, error, message}.
    """

    run_id: str
    output: str
    exit_code: int
    files_total: int
    files_computed: int
    files_cached: int
    files_failed: int
    files_partial: int
    files_skipped: int
    frames: int
    rows: Mapping[str, int]
    seconds: Mapping[str, float]
    providers: Mapping[str, str]
    errors: tuple[Mapping[str, str], ...]
    elapsed_seconds: float
    files_ok: int = 0
    files_copies: int = 0
    files_not_reached: int = 0
    sessions: Mapping[str, SessionStats] = field(default_factory=dict)
    decoders: Mapping[str, list[str]] = field(default_factory=dict)
    device_memory_bytes: int = 0
    partial_kinds: Mapping[str, int] = field(default_factory=dict)
    clips: Mapping[str, Any] = field(default_factory=dict)
