"""Every format of `framemill export`: what is written, by which function, and how its files are called.

The command line and the pages list the formats from here; nothing that writes is imported before it is asked
for. A format is a line in `FORMATS` and its function.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from framemill.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        of: what is written: shots and speech source by source, frames of all sources as one data set.
        writer: module under `framemill.cluster.exports` and function. Of shots: a `ShotList` -> file name ->
            content; of speech: a `Track` -> text; of frames: `SampledFrames` and a folder -> how many.
        files: names of what it makes, for people.
        holds: what stands in them, for people, in Markdown.
        needs: of shots: columns of the view `shots` beside those that are cheap; of speech: tables, one of
            which has to be there.
    """

    of: Literal["shots", "speech", "frames"]
    writer: str
    files: str
    holds: str
    needs: tuple[str, ...] = ()

    def load(self) -> Any:
        """The function that writes it."""
        module, _, function = self.writer.partition(":")
        return getattr(importlib.import_module(f"framemill.cluster.exports.{module}"), function)


FORMATS: Mapping[str, Format] = {
    "shots-csv": Format(
        "shots", "shots_csv:write_shots_csv", "`{stem}-shots.csv`",
        "PySceneDetect's columns, then file, still, transition, in and out in the source's timecode, labels",
        ("still",),
    ),
    "edl": Format(
        "shots", "edl:write_edl", "`{stem}.edl`",
        "CMX 3600 at the source's rate and in its timecode; labels as markers",
    ),
    "otio": Format(
        "shots", "otio:write_otio", "`{stem}.otio`", "an OpenTimelineIO timeline; labels as markers",
    ),
    "fcpxml": Format(
        "shots", "fcpxml:write_fcpxml", "`{stem}.fcpxml`", "a project of Final Cut Pro; labels as markers",
    ),
    "stills": Format(
        "shots", "stills:write_stills", "`{stem}-{shot:03}.jpg`", "the best frame of each shot", ("still",),
    ),
    "chapters": Format(
        "shots", "chapters:write_chapters", "`{stem}.ffmetadata`",
        "chapters as FFmpeg reads them, named by labels or words",
    ),
    "srt": Format(
        "speech", "subtitle_files:write_srt", "`{stem}.srt`, `{stem}.en.forced.srt`",
        "the transcript as SubRip, speakers as `[S1]`", ("transcript",),
    ),
    "vtt": Format(
        "speech", "subtitle_files:write_vtt", "`{stem}.vtt`, `{stem}.en.vtt`",
        "as WebVTT, speakers as `<v S1>`", ("transcript",),
    ),
    "ass": Format(
        "speech", "subtitle_files:write_ass", "`{stem}.ass`, `{stem}.en.ass`",
        "as Advanced SubStation Alpha, speakers as the name", ("transcript",),
    ),
    "txt": Format(
        "speech", "speech_files:write_txt", "`{stem}.txt`, `{stem}.en.txt`",
        "a line for each segment, speakers as `[S1]`", ("transcript",),
    ),
    "tsv": Format(
        "speech", "speech_files:write_tsv", "`{stem}.tsv`, `{stem}.en.tsv`",
        "Whisper's table: start and end in milliseconds, and the text", ("transcript",),
    ),
    "json": Format(
        "speech", "speech_files:write_json", "`{stem}.json`",
        "segments with their words, and turns of speakers", ("transcript", "speakers"),
    ),
    "rttm": Format(
        "speech", "speech_files:write_rttm", "`{stem}.rttm`",
        "turns of speakers as NIST has them; the file's field is the stem, `_` for spaces", ("speakers",),
    ),
    "sprites": Format(
        "frames", "sprites:write_sprites", "`{stem}.vtt` and `{stem}-001.jpg`, ... for each source",
        "previews for seeking: sheets of thumbnails, and WebVTT whose cues name parts of them (`#xywh=`)",
    ),
    "coco": Format(
        "frames", "box_datasets:write_coco", "`annotations.json`, `images/`",
        "boxes `[left, top, width, height]` in pixels; ids and categories from 1; `video_id`, `frame_id`, "
        "`track_id`, `score` beside",
    ),
    "yolo": Format(
        "frames", "box_datasets:write_yolo", "`data.yaml`, `images/`, `labels/`",
        "class from 0, then centre and size as shares of the picture; no split is made",
    ),
    "cvat": Format(
        "frames", "annotation_tools:write_cvat",
        '`{stem}.xml` for each source, "CVAT for video 1.1": a task there is one video, frames numbered as '
        "here",
        "corners in pixels; a track's boxes are keyframes, outside where a sampled frame lacks them",
    ),
    "labelstudio": Format(
        "frames", "annotation_tools:write_labelstudio",
        "`tasks.json` with predictions, `config.xml`; `images/` where there are no tracks",
        "percent; with tracks a timeline of the video, frames from 1",
    ),
    "fiftyone": Format(
        "frames", "box_datasets:write_fiftyone",
        "`labels.json`, `data/`, for `fiftyone.types.FiftyOneImageDetectionDataset`",
        "boxes `[left, top, width, height]` as shares of the picture",
    ),
    "webdataset": Format(
        "frames", "training_sets:write_webdataset",
        "`000000.tar` and on, at most 256 MiB each, with `{key}.jpg` and `{key}.json`",
        "as in `coco`, with labels, time and source",
    ),
    "hf": Format(
        "frames", "training_sets:write_hf",
        "`README.md` with `configs`, `train/` with pictures and `metadata.jsonl`; the config `vectors` has "
        "image embeddings of fixed size",
        "as in `coco`",
    ),
}  # fmt: skip


def format_named(form: str, of: str) -> Format:
    """The format of this name.

    Raises:
        UsageError: none that writes `of` is called so.
    """
    known = names_of(of)
    if form not in known:
        raise UsageError(
            f"unknown format {form!r}{did_you_mean(form, known)}; known of {of}: {', '.join(known)}"
        )
    return FORMATS[form]


def names_of(of: str) -> tuple[str, ...]:
    """Names of the formats that write shots, speech or frames."""
    return tuple(name for name, form in FORMATS.items() if form.of == of)
