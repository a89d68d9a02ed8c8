"""The cases of `cases.json` as its README describes them; a key that it does not name is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

Range = tuple[float, float]


class TableExpectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold of the rows of one table; see the README of the cases.

    Attributes:
        values: (row, column, value) or (row, column, value, tolerance) each.
    """

    rows: int | Range | None = None
    last_end_max: float | None = None
    rising: str | None = None
    distinct: str | None = None
    values: tuple[tuple[Any, ...], ...] = ()


class BrightnessSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A clip of one grey level a picture.

    Attributes:
        step: by how much each picture is brighter than the one before, in steps of luma.
        runs: luma of a first picture, and how many pictures there are with it and behind it.
    """

    step: float
    runs: tuple[tuple[float, int], ...]
    tolerance: float = 0.9

    def lumas(self) -> list[float]:
        """The luma of each picture, 16 (black) to 235 (white)."""
        return [first + self.step * index for first, count in self.runs for index in range(count)]


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a case; a pair of numbers is a range with both ends, None is not looked at."""

    exit_code: int | tuple[int, ...] | None = None
    status: str | tuple[str, ...] | None = None
    num_frames: int | Range | None = None
    duration_seconds: float | Range | None = None
    rotation_degrees: int | Range | None = None
    width: int | Range | None = None
    height: int | Range | None = None
    tables: dict[str, TableExpectation] = {}
    brightness_sequence: BrightnessSequence | None = None
    quadrants: tuple[str, str, str, str] | None = None
    words: tuple[str, ...] | None = None
    errors_contains: str | tuple[str, ...] = ()
    within_seconds: float = 60.0
    memory_mb_max: float | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"neighbours": "with"}):
    """One command over one file, and what must come of it.

    Attributes:
        file: path in the folder of cases.
        kind: slug of the kind of fault that the file is an example of.
        neighbours: healthy files given in the same run.
        names: names under which the file is copied into a folder, which is then the source.
        export: format of the subtitles from which the words are read; empty for the table.
        why: what is right and how that is known.
    """

    file: str
    kind: str
    ops: tuple[str, ...]
    sample: str
    expect: Expectation
    why: str
    args: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    export: str = ""

    @property
    def name(self) -> str:
        """What the case is called among all: kind, file, and what tells it from others of the file."""
        parts = [self.kind, self.file, "+".join(self.ops), self.sample, self.export]
        return "-".join(part for part in parts if part)

    @property
    def listens(self) -> bool:
        """Whether words come from speech, and not from subtitles."""
        return "transcript" in self.ops and "transcript.origin=subtitles" not in self.args

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of `extract` but the sources and the folder of the results."""
        arguments = ["--ops", ",".join(self.ops), "--sample", self.sample, *self.args]
        if self.listens:
            arguments += ["--model", "transcript=whisper_words"]
        if self.expect.quadrants and "--images" not in self.args:
            arguments += ["--images"]
        return tuple(arguments)

    @property
    def is_hostile(self) -> bool:
        """Whether it must not run with others: it may end the run, take its time or all of the memory."""
        return (
            self.file.startswith("hostile/") or bool(self.neighbours) or self.expect.memory_mb_max is not None
        )


def read_cases(path: Path) -> tuple[Case, ...]:
    """All cases of a `cases.json`.

    Raises:
        msgspec.ValidationError: a key is unknown or missing, or a value of another type; names its place.
        ValueError: two cases cannot be told apart.
    """
    # Names of files may hold lone surrogates, which msgspec's own reader of JSON refuses.
    cases = msgspec.convert(json.loads(path.read_text("utf-8")), tuple[Case, ...])
    names = [case.name for case in cases]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} describes these more than once: {', '.join(repeated)}")
    return cases
