"""Writes the lists in the pages of this folder that come from the code: python -m docs.generate [--check]

A list stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`; everything else is written by
hand. What is written depends on the code alone, not on the machine: no plug-ins, no user's models, no paths.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from docs.limits import GROUPS
from framemill.cluster.choices import QUALITIES
from framemill.cluster.cli.main import COMMANDS, SECTIONS, cli, main
from framemill.cluster.cli.output import size
from framemill.cluster.clips.choices import PROFILES
from framemill.cluster.config import keywords
from framemill.cluster.exports.catalogue import FORMATS
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.models.quality import models_of
from framemill.models.registry import DEFAULTS, KNOWN, MORE_FAMILIES
from framemill.ops import DEFAULT_OPS, OPS, load_op

FOLDER = Path(__file__).resolve().parent

# What one row of a table stands for. Which tables there are comes from the code: one that is not here is an
# error.
ROWS = {
    "media": "path",
    "frames": "sampled frame",
    "scenes": "shot",
    "audio_levels": "tenth of a second",
    "speech": "stretch of speech",
    "errors": "failure",
    "runs": "run",
    "objects": "thing in a sampled frame",
    "faces": "face",
    "face_quality": "face",
    "emotions": "face",
    "face_embeddings": "face",
    "poses": "person",
    "text": "line in a frame",
    "text_spans": "line, while it stands",
    "labels": "sampled frame and rank",
    "image_embeddings": "sampled frame",
    "clip_embeddings": "shot with a sampled frame",
    "aesthetics": "sampled frame",
    "moderation": "sampled frame",
    "depth": "sampled frame",
    "open_vocabulary": "thing in a sampled frame that a word names",
    "tracks": "object or face on its way",
    "quality": "sampled frame",
    "composition": "sampled frame",
    "editability": "sampled frame",
    "camera_steps": "look at the picture, ten a second",
    "motion": "shot",
    "stretches": "frozen, static, moving or shaky stretch",
    "transcript": "segment of speech, or subtitle in the file",
    "text_embeddings": "text span",
    "transcript_embeddings": "segment",
    "speakers": "turn",
    "sounds": "class heard in a window of about a second",
    "audio_embeddings": "window of about a second",
    "music_or_speech": "stretch",
    "silences": "stretch",
    "beats": "beat",
    "loudness": "file",
    "key_frames": "key frame, at most two a second",
    "importance": "stretch of one tier",
    "sampling": "frame that is picked",
    "candidates": "sampled frame",
    "preview": "key frame",
    "people": "face",
    "recall": "file and operation of a cascade",
    "duplicates": "frame or video that is there twice",
    "thumbnails": "picked frame",
    "highlights": "picked stretch",
    "clips": "clip of a plan, kept or dropped",
    "captions": "shot or clip that a model was asked about",
    "summaries": "file that a model was asked about",
    "tags": "tag of a shot",
    "person_names": "face that a name hangs on",
    VIEW: "shot, with what all tables know of it",
}


def main_() -> int:
    """Writes the stale pages, or with --check only names them and returns 1 where there are any."""
    stale = {path: text for path, text in fresh_pages().items() if path.read_text("utf-8") != text}
    for path, text in stale.items():
        print(path.relative_to(FOLDER.parent))
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv[1:] else 0


def fresh_pages() -> dict[Path, str]:
    """Every page with its whole text as the code has it now.

    Raises:
        ValueError: a page asks for a list that nobody makes, or a list stands in no page.
    """
    made: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in LISTS:
            raise ValueError(f"no list is called {name!r}; there are {', '.join(LISTS)}")
        made.add(name)
        return f"<!-- generated: {name} -->\n\n{LISTS[name]().strip()}\n\n<!-- end of {name} -->"

    pattern = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end of \1 -->", re.DOTALL)
    pages = {path: pattern.sub(fill, path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.md"))}
    if missing := set(LISTS) - made:
        raise ValueError(f"no page holds {', '.join(sorted(missing))}: add its markers to one")
    return pages


def schemas() -> dict[str, pa.Schema]:
    """Table -> its columns, source_id included where it has one; those made by default first."""
    ours = {name: load_op(name).schema for name in OPS} | {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    ours |= {name: corpus_schema(name) for name in CORPUS_TABLES}
    ours[VIEW] = SHOTS_SCHEMA
    by_default = [*DEFAULT_OPS, "errors", "runs"]
    return {name: ours[name] for name in dict.fromkeys([*by_default, *ours])}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; cells may hold `|`."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(str(cell).split()).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def overview() -> str:
    if unknown := set(ROWS) ^ set(schemas()):
        raise ValueError(
            f"ROWS and the tables of the code differ in {', '.join(sorted(unknown))}: put ROWS right"
        )

    def made(name: str) -> str:
        if name in OPS:
            return "by default" if name in DEFAULT_OPS else "when named"
        if name == VIEW:
            return "a view, where there are scenes"
        return "by commands" if name in CORPUS_TABLES else "always"

    return table(("table", "a row for each", "made"), [(f"[{n}](#{n})", ROWS[n], made(n)) for n in schemas()])


def columns() -> str:
    parts = []
    for name, schema in schemas().items():
        rows = [
            (
                f"`{field.name}`",
                f"`{str(field.type).replace(' not null', '')}`",
                (field.metadata or {})[b"doc"].decode(),
            )
            for field in schema
            if field.name != "source_id"
        ]
        parts.append(f"### {name}\n\n{table(('column', 'type', 'meaning'), rows)}")
    return "\n\n".join(parts)


def operations() -> str:
    parts = []
    for op in _as_json("ops", *OPS):
        facts = [
            "runs by default" if op["default"] else "runs when named",
            f"reads {op['reads']}",
            *([f"comes after {code(op['after'])}"] if op["after"] else []),
            *([f"model roles {code(op['models'])}"] if op["models"] else []),
            f"table [{op['name']}](tables.md#{op['name']})",
        ]
        part = f"### {op['name']}\n\n{op['what']} {op['doc']}\n\n{'; '.join(facts)}."
        if op["options"]:
            rows = [
                (f"`{o['name']}`", o["type"], f"`{json.dumps(o['default'])}`", o["doc"])
                for o in op["options"]
            ]
            part += f"\n\n{table(('option', 'type', 'default', 'meaning'), rows)}"
        parts.append(part)
    return "\n\n".join(parts)


def commands() -> str:
    found = {name: _command(name) for name in COMMANDS}
    parts: list[str] = []
    told: dict[str, str] = {}
    for title, names in SECTIONS.items():
        rows = [(f"[`{name}`](#{name})", found[name].get_short_help_str(200)) for name in names]
        parts.append(f"**{title}**\n\n{table(('command', 'does'), rows)}")
    for name, command in found.items():
        parts.append(f"### {name}\n\n{_describe(command, name, told)}")
        if isinstance(command, click.Group):
            parts += [
                f"#### {name} {inner}\n\n{_describe(command.commands[inner], f'{name} {inner}', told)}"
                for inner in sorted(command.commands)
            ]
    return "\n\n".join(parts)


def settings() -> str:
    rows = [
        (f"`--{name.replace('_', '-')}`", f"`FRAMEMILL_{name.upper()}`", f"`{name}`", f"`{keyword}`")
        for name, keyword in keywords().items()
    ]
    return table(("flag", "variable", "key of the file", "keyword in Python"), rows)


def models() -> str:
    roles: dict[str, list[Any]] = {}
    for entry in KNOWN:
        roles.setdefault(entry.role, []).append(entry)
    rows = [
        (
            f"`{role}`" if entry is entries[0] else "",
            f"`{entry.name}`",
            entry.family,
            size(entry.num_bytes),
            entry.licence,
            entry.trained_on,
            ", ".join(entry.research_only),
            entry.commercial if entry.commercial == "yes" else f"**{entry.commercial}**",
            ", ".join(entry.unconfirmed),
        )
        for role, entries in roles.items()
        for entry in entries
    ]
    header = ("role", "model", "family", "size", "licence", "trained on", "of it for research only")
    return table((*header, "commercial use", "unconfirmed"), rows)


def qualities() -> str:
    chosen = {quality: models_of(quality) for quality in QUALITIES}
    known = {(entry.role, entry.name): entry for entry in KNOWN}

    def cell(quality: str, role: str) -> str:
        entry = known[role, chosen[quality].get(role, DEFAULTS[role].name)]
        return f"`{entry.name}` ({size(entry.num_bytes)})"

    roles = [role for role in DEFAULTS if any(role in named for named in chosen.values())]
    rows = [(f"`{role}`", *(cell(quality, role) for quality in QUALITIES)) for role in sorted(roles)]
    return table(("role", *QUALITIES), rows)


def families() -> str:
    rows = []
    for role in DEFAULTS:
        known = dict.fromkeys(entry.family for entry in KNOWN if entry.role == role)
        rows.append((f"`{role}`", code(dict.fromkeys([*known, *MORE_FAMILIES.get(role, ())]))))
    return table(("role", "families that serve it"), rows)


def formats() -> str:
    rows = [(f"`{name}`", form.of, form.files, form.holds) for name, form in FORMATS.items()]
    return table(("F", "of", "files", "what stands in them"), rows)


def profiles() -> str:
    rows = [
        (f"`{name}`", found.says, f"`{found.expression}`", code(found.needs).replace("|", "` or `"))
        for name, found in PROFILES.items()
    ]
    return table(("`--profile`", "what passes", "the same as `--where`", "needs"), rows)


def limits() -> str:
    rows = [
        (title, limit.of, limit.value, limit.flag, limit.crossing)
        for title, make in GROUPS.items()
        for limit in make()
    ]
    return table(("of", "limit", "default", "flag", "crossing it gives"), rows)


LISTS: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        overview, columns, operations, commands, settings, qualities, models, families, formats, profiles,
        limits,
    )
}  # fmt: skip


def _as_json(*words: str) -> Any:
    """What a command of ours prints with --json."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if main([*words, "--json"]) != 0:
            raise RuntimeError(f"framemill {' '.join(words)} failed")
    return json.loads(out.getvalue())


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def _describe(command: click.Command, words: str, told: dict[str, str]) -> str:
    """Usage, help and options of a command; what every command takes is left out.

    Args:
        told: table of options -> the command that it was told of; filled.
    """
    context = click.Context(command, info_name=f"framemill {words}")
    usage = " ".join([f"framemill {words}", *command.collect_usage_pieces(context)])
    records = [
        option.get_help_record(context)
        for option in command.params
        if isinstance(option, click.Option) and option.name not in ("as_json", "quiet", "verbose")
    ]
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    options = table(("option", "means"), rows) if rows else ""
    if options in told:
        options = f"The options are those of `{told[options]}`."
    elif options:
        told[options] = words
    return "\n\n".join(filter(None, [f"`{usage}`", _prose(command.help or ""), options]))


def _prose(text: str) -> str:
    """Paragraphs of a help text; those that click shows as they are (after a \\b) become code."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("\b"):
            paragraphs.append(f"```text\n{paragraph.lstrip(chr(8)).strip()}\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    sys.exit(main_())
