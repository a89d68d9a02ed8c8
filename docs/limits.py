"""What bounds the work that an input can cause: every limit once, with the value that the code has."""

from __future__ import annotations

from dataclasses import dataclass

from framemill.actors import (
    box_sizes,
    codec_names,
    limits,
    object_store,
    orientation,
    packets,
    plan,
    safe_open,
    segments,
    sound,
    stills,
    stream_choice,
    timeline,
)
from framemill.cluster.corpus import caption_prompts, caption_server, captions, summaries, tags
from framemill.cluster.editing import montage, thumbnails
from framemill.cluster.engines import run
from framemill.cluster.machine import MEMORY_SHARE
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results import answers, parts
from framemill.cluster.run import content_ids
from framemill.cluster.view import api, document, guard, shot_pages
from framemill.models import addresses, bert_graph, download, onnx_batching, registry, trial
from framemill.ops import word_lists
from framemill.ops.frames import labels
from framemill.ops.objects import open_vocabulary
from framemill.ops.sampling import importance_curve
from framemill.ops.text import detection, recognition

REFUSED = "one row of `errors`"
QUARANTINED = "tried again alone, then a `quarantined` row of `errors`"
UNUSED = "what lies behind is not looked at"
TOLD = "an error that names the limit"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        of: what is limited. value: by default. flag: that changes it, or empty. crossing: what comes of more.
    """

    of: str
    value: str
    crossing: str
    flag: str = ""


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:g}"


def _size(num_bytes: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if num_bytes >= 1 << power:
            return f"{num_bytes / (1 << power):g} {unit}"
    return f"{num_bytes} bytes"


def media() -> list[Limit]:
    """Of files with picture, sound or subtitles."""
    factor = ExtractRequest.__dataclass_fields__["deadline_factor"].default
    return [
        Limit(
            "seconds to open, decode or merge a piece",
            f"{run.DEADLINE_SECONDS:g}, and {factor:g} for each second of its length",
            QUARANTINED,
            "`--deadline-factor`",
        ),
        Limit(
            "length that deadlines go by",
            f"a second for {_count(limits.BYTES_PER_CREDIBLE_SECOND)} bytes, "
            f"{limits.LEAST_CREDIBLE_SECONDS:g} s for any file",
            "the deadline comes earlier",
        ),
        Limit("memory of the worker", f"{MEMORY_SHARE:g} of the machine's", QUARANTINED, "`--memory`"),
        Limit(
            "packets in one pass",
            f"one in {limits.BYTES_PER_PACKET} bytes, {_count(limits.LEAST_PACKETS)} in any file, "
            f"{_count(limits.MOST_PACKETS)} at most",
            REFUSED,
        ),
        Limit(
            "sound",
            f"{limits.SECONDS_PER_BYTE:g} s a byte, {_count(limits.LEAST_SECONDS)} s in any file",
            REFUSED,
        ),
        Limit(
            "pixels of all decoded pictures",
            f"{_count(limits.PIXELS_PER_BYTE)} a byte, {_count(limits.LEAST_PIXELS)} in any file",
            REFUSED,
        ),
        Limit("pixels of a picture", _count(safe_open.MAX_PIXELS), REFUSED),
        Limit(
            "sides of a picture with pixels that are not square",
            f"{_count(orientation.MAX_STRETCHED)} pixels",
            REFUSED,
        ),
        Limit("streams", _count(safe_open.MAX_STREAMS), REFUSED),
        Limit("a file of subtitles alone", _size(limits.MOST_SUBTITLE_BYTES), REFUSED),
        Limit("subtitles in a file, unpacked", _size(limits.MOST_TEXT_BYTES), REFUSED),
        Limit("a gap in the sound that is filled", f"{_count(sound.MAX_GAP_SECONDS)} s", "it is closed"),
        Limit(
            "rows of `audio_levels`",
            "ten a second of sound, and so one a byte",
            "the limit of sound is crossed first",
        ),
        Limit(
            "rows of sampled frames", "one a packet, for each operation", "that of packets is crossed first"
        ),
        Limit(
            "length of a picture whose importance is told",
            f"{_count(importance_curve.MOST_BINS * importance_curve.BIN_SECONDS)} s",
            REFUSED,
        ),
        Limit("key frames of `keyframes:N`", _count(plan.MOST_KEY_FRAMES), TOLD),
        Limit("boxes of an MP4 looked through for what is cut off", _count(box_sizes.MAX_BOXES), UNUSED),
        Limit("elements of a joined Matroska file", _count(segments.MAX_ELEMENTS), UNUSED),
        Limit("boxes looked through for the name of a codec", _count(codec_names.MAX_BOXES), UNUSED),
        Limit("packets looked at to choose a track", _count(stream_choice.LOOK_PACKETS), UNUSED),
        Limit("packets decoded to find a first picture", _count(packets.MAX_START_PACKETS), REFUSED),
        Limit("leaps of a clock that are looked into", _count(timeline.MOST_LOOKS), "taken for a pause"),
        Limit("a hole in a file that is hashed", _size(content_ids.MOST_HOLE_BYTES), REFUSED),
        Limit("a picture of `search --image`", _size(stills.MAX_BYTES), TOLD),
        Limit("longer side of what text is looked for in", f"{detection.LONGEST_SIDE} pixels", "scaled down"),
        Limit("width of a line that is read", f"{recognition.MAX_WIDTH} pixels", "squeezed"),
        Limit(
            "tags, titles, chapters, attachments, edit lists, programmes of a transport stream",
            "the bytes of the file",
            "deadline",
        ),
    ]


def questions() -> list[Limit]:
    """Of what users and pages ask."""
    return [
        Limit("seconds of a statement in SQL", f"{answers.SQL_SECONDS:g}", TOLD, "`--timeout`"),
        Limit(
            "memory of its process, of which DuckDB holds five sevenths before it spills",
            f"{answers.SQL_MEMORY_SHARE:g} of the machine's",
            TOLD,
            "`--memory`",
        ),
        Limit("disk that it spills to", _size(answers.MOST_SPILLED_BYTES), TOLD),
        Limit("rows that `framemill sql` writes", _count(answers.MOST_ROWS), TOLD, "`--limit`"),
        Limit("rows that `Results.sql` holds", _count(answers.MOST_HELD_ROWS), TOLD, "`limit=`"),
        Limit("bytes of a statement", _size(answers.MOST_SQL_BYTES), TOLD),
        Limit("a statement of the viewer, in seconds", f"{api.SQL_SECONDS:g}", "400"),
        Limit("its rows", f"{_count(api.SQL_ROWS)}, {_count(api.MOST_SQL_ROWS)} when asked for", "400"),
        Limit("seconds of a condition in the viewer", f"{shot_pages.WHERE_SECONDS:g}", "400"),
        Limit("rows of a page of the viewer", _count(api.MOST_ROWS), "400"),
        Limit("what a browser sends", _size(guard.MAX_BODY_BYTES), "413"),
        Limit("shots of a report", _count(document.MAX_SHOTS), "the page says how many are left out"),
        Limit("files of a report", _count(document.MAX_FILES), "the page says how many are left out"),
        Limit("a row group of a part", _size(parts.ROW_GROUP_BYTES), "another begins"),
        Limit("length of a montage", f"{_count(montage.MAX_SECONDS)} s", TOLD),
        Limit("thumbnails of a file", _count(thumbnails.MAX_COUNT), TOLD),
        Limit("letters of a tag", _count(tags.MAX_CHARACTERS), TOLD),
        Limit("words of `labels`", _count(labels.MAX_WORDS), TOLD),
        Limit("words of `open_vocabulary`", _count(open_vocabulary.MAX_WORDS), TOLD),
        Limit("letters of a word of these", _count(word_lists.MAX_LETTERS), TOLD),
    ]


def others() -> list[Limit]:
    """Of models, settings and answers that come over a network."""
    server = caption_server
    return [
        Limit("a download whose size nobody states", _size(download.LIMIT_BYTES), TOLD),
        Limit("any other download, and what is unpacked of it", "the size that is stated", TOLD),
        Limit("silence of a download", f"{download.TIMEOUT_SECONDS:g} s", f"{download.ATTEMPTS} attempts"),
        Limit("redirects", _count(addresses.REDIRECTS), TOLD),
        Limit("header of a safetensors file", _size(bert_graph.MAX_HEADER_BYTES), TOLD),
        Limit("a model file in ONNX", _size(onnx_batching.MOST_GRAPH_BYTES + 1), TOLD),
        Limit("values of a row that `models add` tries", f"{onnx_batching.MOST_TRIAL_VALUES:,}", TOLD),
        Limit(
            "memory in which `models add` tries a model",
            f"{_size(trial.MOST_BYTES)}, and {trial.MOST_BYTES_A_FILE_BYTE} for each byte of its file",
            TOLD,
        ),
        Limit("seconds of that", f"{trial.MOST_SECONDS:g}", TOLD),
        Limit("a file of settings or of models in TOML", _size(registry.MOST_TOML_BYTES), TOLD),
        Limit("an answer of a caption server", _size(server.MAX_BYTES), "a row with the error"),
        Limit("its seconds", f"{server.TIMEOUT_SECONDS:g}", f"{server.ATTEMPTS} attempts", "`--timeout`"),
        Limit("its tokens", _count(server.MAX_TOKENS), "cut off by the server"),
        Limit("a pause that it asks for", f"{server.LONGEST_PAUSE_SECONDS:g} s", "it waits that long"),
        Limit("a prompt", _size(caption_prompts.MAX_PROMPT_BYTES), TOLD),
        Limit("words of a shot in a prompt", f"{_count(caption_prompts.MOST_CHARACTERS)} characters", "cut"),
        Limit("captions in a question", f"{_count(summaries.MOST_CHARACTERS)} characters", "cut"),
        Limit("pictures of a question", _count(captions.MAX_FRAMES), TOLD),
        Limit(
            "a request to an object store",
            f"{object_store.REQUEST_SECONDS:g} s, {object_store.SILENT_SECONDS:g} s without a byte",
            "tried again, then a failure that the next run tries again",
        ),
    ]


GROUPS = {"files": media, "questions": questions, "models, settings, networks": others}
