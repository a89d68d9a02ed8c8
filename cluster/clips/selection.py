"""Which clips are to be made of a result folder: its stretches, filtered by what is known of its shots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from framemill.cluster.clips.choices import profile_named
from framemill.cluster.clips.intervals import Rules, Shot, Stretch, plan_source, strides
from framemill.cluster.exports.stretches import read_stretches
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import ask
from framemill.errors import UsageError, did_you_mean

SHOTS, HIGHLIGHTS, STRIDE = "shots", "highlights", "stride"
# Columns of the view that go with each clip, where they are known.
FACTS = ("caption", "keywords", "labels", "words", "text", "num_faces", "names", "camera", "tags")
_STRIDE = re.compile(r"stride:(\d+(?:\.\d+)?)")
_COLUMNS = (
    "source_id", "scene_index", "start_seconds", "end_seconds", "start_frame", "end_frame", "transition",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be made into clips.

    Attributes:
        plan: `shots`, `highlights`, `stride:SECONDS`, the name of another table of stretches, or a query that
            gives source_id or uri, start_seconds and end_seconds.
        rules: lengths, transitions and how many.
        where: a condition on columns of the view `shots`, in DuckDB's SQL; empty for none.
        profiles: names in `PROFILES`, each one more condition.
    """

    plan: str = SHOTS
    rules: Rules = field(default_factory=Rules)
    where: str = ""
    profiles: tuple[str, ...] = ()

    @property
    def needs_shots(self) -> bool:
        """Whether clips depend on `scenes`."""
        has_conditions = bool(self.where.strip() or self.profiles)
        return self.plan.strip() == SHOTS or not self.rules.across_cuts or has_conditions

    @property
    def table(self) -> str:
        """The table that is read for stretches other than shots; empty where none is, or a query says."""
        plan = self.plan.strip()
        return plan if re.fullmatch(r"\w+", plan) and plan != SHOTS else ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The clips of a folder.

    Attributes:
        uris: source id -> its files, the sources in the order of their first file.
        clips: source id -> its clips in order of time, kept and dropped.
        facts: (source id, scene_index) -> what is known of the shot: those of `FACTS` that any shot has.
    """

    uris: Mapping[str, Sequence[str]]
    clips: Mapping[str, list[Stretch]]
    facts: Mapping[tuple[str, int], Mapping[str, Any]]


def plan_clips(dataset: Dataset, selection: Selection) -> Planned:
    """Plans the clips of all sources; the same folder and selection give the same.

    Raises:
        UsageError: a table is missing, DuckDB refuses the plan or a condition, or the plan is none.
        DatasetError: a part cannot be read.
    """
    check_plan(selection)
    conditions = _conditions(dataset, selection)
    plan, rules = selection.plan.strip(), selection.rules
    every = _STRIDE.fullmatch(plan)
    shots: dict[str, list[Shot]] = {}
    facts: dict[tuple[str, int], dict[str, Any]] = {}
    if selection.needs_shots:
        shots, facts = _shots(dataset, conditions)
    known = uris_by_source(dataset)
    lengths = {record.source_id: record.duration_seconds for record in dataset.state.sources.values()}
    if plan == SHOTS:
        wanted = {source: [_whole(shot) for shot in own] for source, own in shots.items()}
    elif every is not None:
        wanted = {
            source: strides(lengths[source], shots.get(source, ()), float(every[1]), rules.across_cuts)
            for source in known
        }
    else:
        found = read_stretches(str(dataset.root), None, of=plan)
        wanted = {
            source: [_stretch(each, plan == HIGHLIGHTS) for each in own] for source, own in found.items()
        }
    order = sorted((source for source in wanted if source in known), key=lambda source: known[source][0])
    return Planned(
        {source: known[source] for source in order},
        {source: plan_source(wanted[source], shots.get(source, ()), rules) for source in order},
        facts,
    )


def dropped_by(clips: Mapping[str, Iterable[Stretch]]) -> dict[str, int]:
    """Reason -> how many clips it dropped, the most first."""
    counts = Counter(each.reason for own in clips.values() for each in own if each.reason)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_plan(selection: Selection) -> None:
    """Refuses a plan that no result folder makes clips of.

    Raises:
        UsageError: it is written as none, or its strides are not within the lengths of clips.
    """
    plan, rules = selection.plan.strip(), selection.rules
    every = _STRIDE.fullmatch(plan)
    if every is not None and not rules.min_seconds <= float(every[1]) <= rules.max_seconds:
        raise UsageError(
            f"the plan {plan} makes no clips of {rules.min_seconds:g} to {rules.max_seconds:g} s: give a "
            "length between these, or other limits (`min_seconds`, `max_seconds`)"
        )
    if plan.startswith(STRIDE) and not _STRIDE.fullmatch(plan):
        raise UsageError(f"the plan {plan!r} is none: give the length of clips in seconds, as in stride:5")
    if not re.search(r"\s", plan) and not re.fullmatch(r"\w+|stride:.*", plan):
        hint = did_you_mean(plan, (SHOTS, HIGHLIGHTS, "stride:5"))
        raise UsageError(
            f"the plan {plan!r} is none{hint}: give shots, stride:SECONDS, highlights, another table of "
            "stretches, or a query"
        )


def _conditions(dataset: Dataset, selection: Selection) -> dict[str, str]:
    """Name of each filter -> its expression."""
    there = set(dataset.state.keys)
    named = {f"profile {name}": profile_named(name, there).expression for name in selection.profiles}
    return named | ({"where": selection.where} if selection.where.strip() else {})


def _shots(
    dataset: Dataset, conditions: Mapping[str, str]
) -> tuple[dict[str, list[Shot]], dict[tuple[str, int], dict[str, Any]]]:
    """Source id -> its shots by time, and what is known of each."""
    passes = [
        # On lines of its own, a condition that ends in a comment leaves the rest of the statement alone.
        f"coalesce(CAST((\n{expression}\n) AS BOOLEAN), false)"
        for expression in conditions.values()
    ]
    columns = ", ".join((*_COLUMNS, *FACTS, *passes))
    found = ask(dataset, f"SELECT {columns} FROM shots ORDER BY source_id, scene_index")
    shots: dict[str, list[Shot]] = {}
    facts = {}
    for row in found.rows:
        source, shot = row[0], Shot(*row[1 : len(_COLUMNS)])
        verdicts = row[len(_COLUMNS) + len(FACTS) :]
        broken = next((name for name, passed in zip(conditions, verdicts, strict=True) if not passed), "")
        shots.setdefault(source, []).append(replace(shot, broken=broken))
        facts[source, shot.scene_index] = dict(zip(FACTS, row[len(_COLUMNS) :], strict=False))
    known = [name for name in FACTS if any(told[name] is not None for told in facts.values())]
    return shots, {key: {name: told[name] for name in known} for key, told in facts.items()}


def _whole(shot: Shot) -> Stretch:
    return Stretch(shot.start_seconds, shot.end_seconds, shot.start_frame, shot.end_frame)


def _stretch(found: Any, is_ranked: bool) -> Stretch:
    return Stretch(
        found.start_seconds,
        found.end_seconds,
        found.start_frame,
        found.end_frame,
        rank=found.number - 1 if is_ranked else None,
    )
