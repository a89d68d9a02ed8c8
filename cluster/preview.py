"""A first answer about files: what they are, key frames, how loud they are, and small pictures."""

from __future__ import annotations

from collections.abc import Sequence

from framemill.cluster.config import Settings
from framemill.cluster.inspection import Record
from framemill.cluster.results.queries import query
from framemill.cluster.results.storage import open_root
from framemill.cluster.run.sources import list_sources
from framemill.errors import UsageError

# What `--preview` runs, and on what: the rows of media and audio_levels serve a full run later on.
SETTINGS: Settings = {"ops": ("media", "preview", "audio_levels"), "sample": "keyframes:24"}
# Settings that say themselves what runs.
CONTRADICTING = (
    "ops",
    "sample",
    "cascade",
    "budget",
    "max_segments",
    "recall_target",
    "images",
    "clips",
    "clips_to",
    "set",
    "model",
)

_FIRST_LOOK = """
SELECT m.uri, round(m.duration_seconds, 2) AS seconds,
    m.width || ' x ' || m.height AS picture, m.video_codec AS codec,
    p.num_key_frames AS key_frames, round(a.mean_db, 1) AS mean_db, round(a.peak_db, 1) AS peak_db,
    p.best AS best_at_seconds
FROM media m
LEFT JOIN (
    SELECT source_id, count(*) AS num_key_frames,
        string_agg(printf('%.1f', pts_seconds), ', ' ORDER BY rank) FILTER (rank IS NOT NULL) AS best
    FROM preview GROUP BY 1
) p USING (source_id)
LEFT JOIN (
    SELECT source_id, 10 * log10(avg(power(10, rms_db / 10))) AS mean_db, max(peak_db) AS peak_db
    FROM audio_levels GROUP BY 1
) a USING (source_id)
ORDER BY m.uri
"""


def preview_settings(flags: Settings, settings: Settings) -> Settings:
    """Settings of a preview: those of the run without what says which operations run.

    Args:
        flags: as typed; None or empty means not given.
        settings: as from `framemill.cluster.config.read_settings`.

    Raises:
        UsageError: a flag contradicts.
    """
    for name in CONTRADICTING:
        if flags.get(name) not in (None, (), ""):
            raise UsageError(f"`preview` says itself what runs: leave out `{name}`, or `preview`")
    kept = {k: v for k, v in settings.items() if k not in ("ops", "sample", "cascade", "options", "models")}
    return {**kept, **SETTINGS}


def first_look(root: str, sources: Sequence[str]) -> list[Record]:
    """A row a file of what a preview found; files that others put into the folder are left out.

    Args:
        sources: as typed.
    """
    asked = {file.uri for file in list_sources(sources, leave_out=open_root(root)).files}
    found = query(root, _FIRST_LOOK)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return [row for row in rows if row["uri"] in asked]
