"""Pictures of a dataset's frames, decoded from the files they came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import cv2

from framemill.actors.pictures import read_pictures
from framemill.actors.remote import is_remote
from framemill.cluster.editing.contact_sheet import Tile, draw_pages
from framemill.cluster.editing.thumbnails import TABLE, by_source
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.layout import write_file
from framemill.cluster.results.parts import read_rows
from framemill.cluster.run.content_ids import content_id
from framemill.cluster.run.sources import paths_of
from framemill.errors import DatasetError, MediaError, UsageError
from framemill.ops.chunks import Int64Array

JPEG_QUALITY = 90
SHEET_FORMATS = (".jpg", ".jpeg", ".png")


class SourcePictures:
    """Decodes frames of sources, and remembers which could not be had.

    Attributes:
        problems: uri -> why its frames could not be decoded.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.problems: dict[str, str] = {}
        self._uris = uris_by_source(dataset)
        self._dataset = dataset

    def fetch(self, source_id: str, frame_index: Int64Array) -> list[bytes | None]:
        """A JPEG of each frame at display size, None where it cannot be had."""
        path, problem = find_file(self._dataset, self._uris.get(source_id, [source_id]))
        if problem:
            self.problems[path] = problem
            return [None] * len(frame_index)
        found: dict[int, bytes] = {}
        try:
            for frames in read_pictures(path, frame_index):
                found |= zip(frames.frame_index.tolist(), frames.jpeg(JPEG_QUALITY), strict=True)
        except MediaError as exc:
            self.problems[path] = str(exc)
        return [found.get(index) for index in frame_index.tolist()]


def find_file(dataset: Dataset, uris: Sequence[str]) -> tuple[str, str]:
    """The first of a source's paths where its file lies, and ""; or a path, and what is wrong with it.

    A path whose bytes are no UTF-8 is one that opens the file; its uri shows it escaped.
    """
    changed = ""
    for uri in uris:
        if is_remote(uri):
            try:
                if content_id(uri) == dataset.state.sources[uri].source_id:
                    return uri, ""
            except MediaError as exc:
                return uri, str(exc)
            changed = uri
            continue
        for path in paths_of(uri):
            if os.path.isfile(path):
                record = dataset.state.sources.get(uri)
                if record is None or os.stat(path).st_size == record.num_bytes:
                    return path, ""
                changed = uri
    if changed:
        return changed, "was changed since it was extracted: extract it again"
    return uris[0], "is not there any more: put it back, or extract it from where it is now"


def check_sheet_path(path: str) -> Path:
    """The path of a contact sheet, whole; refused before any work is done for it.

    Raises:
        UsageError: the ending is none of `SHEET_FORMATS`, or there is no such folder.
    """
    target = Path(os.path.abspath(path))
    if target.suffix.lower() not in SHEET_FORMATS:
        raise UsageError(f"the sheet {path} must end in {', '.join(SHEET_FORMATS)}")
    if not target.parent.is_dir():
        raise UsageError(f"the folder of {path} is not there: make it first")
    return target


def write_sheet(dataset: Dataset, pictures: SourcePictures, path: str) -> list[str]:
    """Draws the table `thumbnails` as contact sheets, a section for each file.

    Args:
        path: of a JPEG or PNG file; further pages are named `NAME-2.jpg` and so on.

    Returns:
        The files that were written; none where there is no thumbnail.

    Raises:
        UsageError: as `check_sheet_path`, or it cannot be written.
    """
    target = check_sheet_path(path)
    written = []
    for number, page in enumerate(draw_pages(_sections(dataset, pictures)), 1):
        name = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        _, data = cv2.imencode(target.suffix.lower(), page)
        try:
            write_file(name, data.tobytes(), replace=True)
        except (DatasetError, OSError) as exc:
            raise UsageError(f"the sheet {name} cannot be written: {exc}") from exc
        written.append(str(name))
    return written


def _sections(dataset: Dataset, pictures: SourcePictures) -> Iterator[tuple[str, list[Tile]]]:
    uris = uris_by_source(dataset)
    for part in dataset.state.parts_of(TABLE):
        rows = read_rows(dataset.root, TABLE, [part])
        for own in [] if rows is None else by_source(rows):
            own = own.sort_by("frame_index")
            source_id = own["source_id"][0].as_py()
            images = own["image"].to_pylist()
            if None in images:
                images = pictures.fetch(source_id, own["frame_index"].to_numpy())
            captions = [
                f"{row['rank'] + 1}. {_clock(row['pts_seconds'])}  {row['score']:.2f} {row['reasons'][0]}"
                for row in own.select(["rank", "pts_seconds", "score", "reasons"]).to_pylist()
            ]
            name = PurePosixPath(uris.get(source_id, [source_id])[0]).name
            yield name, list(zip(images, captions, strict=True))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
