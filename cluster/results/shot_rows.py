"""SQL that brings each table to one row a shot: what the view `shots` joins.

Frames belong to shots by their index, windows of sound by their start, stretches of time to every shot that
they overlap; all ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

NUM_LABELS = 10
# As for thumbnails: detectors are a frame or two off, and fades are known by one instant alone.
CUT_SECONDS, FADE_SECONDS = 0.25, 0.5

# Table -> columns that are read of it.
READ: Mapping[str, tuple[str, ...]] = {
    "scenes": ("scene_index", "start_seconds", "end_seconds", "start_frame", "end_frame", "transition"),
    "frames": ("frame_index", "pts_seconds", "sharpness", "frame_score", "image"),
    "candidates": ("frame_index", "decision"),
    "thumbnails": ("frame_index", "score", "image"),
    "faces": ("frame_index", "box"),
    "people": ("frame_index", "face_index", "person_id"),
    "person_names": ("frame_index", "face_index", "name", "created_at"),
    "media": ("width", "height"),
    "objects": ("frame_index", "label"),
    "labels": ("frame_index", "rank", "label"),
    "moderation": ("frame_index", "unsafe"),
    "text_spans": ("start_seconds", "end_seconds", "text"),
    "text": ("frame_index", "pts_seconds", "text_index", "text"),
    "transcript": (
        "start_seconds",
        "end_seconds",
        "segment_index",
        "text",
        "words",
        "origin",
        "stream_index",
    ),
    "speakers": ("start_seconds", "end_seconds", "speaker"),
    "stretches": ("start_seconds", "end_seconds", "difference"),
    "motion": ("scene_index", "amount", "kind", "direction"),
    "audio_levels": ("start_seconds", "rms_db"),
    "music_or_speech": ("start_seconds", "end_seconds", "label"),
    "captions": ("of", "clip_index", "start_seconds", "end_seconds", "text", "tags", "status"),
    "tags": ("start_seconds", "end_seconds", "tag"),
}
# Table -> what a frame shows.
SEEN: Mapping[str, str] = {
    "objects": "SELECT source_id, frame_index, label::VARCHAR AS label FROM objects",
    "labels": "SELECT source_id, frame_index, label::VARCHAR AS label FROM labels WHERE rank = 0",
}


def shot_rows(there: Collection[str]) -> dict[str, str]:
    """Alias -> a statement whose rows have `source_id`, `scene_index`, each pair once, and what is found.

    Args:
        there: those tables of `READ` that can be read.
    """
    kept = _in_shot("SELECT * FROM candidates WHERE decision <> 'skipped'")
    people = _in_shot("SELECT DISTINCT source_id, frame_index, person_id FROM people")
    met = _listed("people", "person_id", "-count(*)", people)
    named = f"""
        FROM (SELECT source_id, scene_index, unnest(people) AS person_id,
            unnest(range(len(people))) AS place_of FROM ({met}))
        JOIN ({names_of_people()}) USING (person_id)"""
    music = _over_shots("FROM music_or_speech WHERE label IN ('music', 'speech_and_music')")
    made = {
        "framed": ("frames", _framed("thumbnails" in there)),
        "kept": ("candidates", _grouped("count(*) AS num_frames", kept)),
        "faced": ("faces", _faced("media" in there)),
        "met": ("people", met),
        "called": ("person_names", _listed("names", "name", "min(place_of)", named)),
        "spanned": (
            "text_spans",
            _listed("text", "text", "min(start_seconds)", _over_shots(_spans("text" in there))),
        ),
        "written": ("text", _listed("text", "text", "min((frame_index, text_index))", _in_shot("FROM text"))),
        "said": ("transcript", _said()),
        "spoke": ("speakers", _listed("speakers", "speaker", "-sum(shared)", _over_shots("FROM speakers"))),
        "judged": ("moderation", _grouped("max(unsafe) AS unsafe", _in_shot("FROM moderation"))),
        "moved": (
            "stretches",
            _grouped(
                "sum(difference * shared) / nullif(sum(shared), 0) AS motion", _over_shots("FROM stretches")
            ),
        ),
        "filmed": ("motion", "SELECT source_id, scene_index, amount, kind, direction FROM motion"),
        "heard": ("audio_levels", _heard()),
        "played": (
            "music_or_speech",
            _grouped(f"{_share('sum(shared) / nullif(any_value(shot_seconds), 0)')} AS music_share", music),
        ),
        "captioned": ("captions", _captioned()),
        "tagged": ("tags", _listed("tags", "tag", "0", placed_tags())),
    }
    found = {alias: sql for alias, (table, sql) in made.items() if table in there}
    if "people" not in there:
        found.pop("called", None)
    if seen := [sql for table, sql in SEEN.items() if table in there]:
        rows = _in_shot(f"SELECT DISTINCT * FROM ({' UNION ALL '.join(seen)})")
        found["seen"] = _listed("labels", "label", "-count(*)", rows, f"[:{NUM_LABELS}]")
    return found


def placed_tags() -> str:
    """Rows of `tags` with the shot that each is of now: see `framemill.cluster.corpus.tags`."""
    rows = _placed("SELECT source_id, start_seconds, end_seconds, tag FROM tags", "tag")
    return f"SELECT source_id, scene_index, start_seconds, end_seconds, tag FROM ({rows})"


def _placed(rows: str, key: str) -> str:
    """Rows with times, each in the one shot that holds at least half of it, where one does.

    Half a microsecond less than half is half: so far times are rounded.

    Args:
        key: what tells rows of the same times apart.
    """
    return f"""
        SELECT * EXCLUDE (shot_seconds, shared) FROM ({_over_shots(rows)})
        WHERE 2 * shared + 1e-6 >= end_seconds - start_seconds
        QUALIFY row_number() OVER (
            PARTITION BY source_id, start_seconds, end_seconds, {key}
            ORDER BY shared DESC, scene_index) = 1"""


def names_of_people() -> str:
    """The name of each person that has one: that of most of its faces in `person_names`, else the newer."""
    return """
        SELECT person_id, arg_max(name, (num_faces, newest, name)) AS name FROM (
            SELECT person_id, name, count(*) AS num_faces, max(created_at) AS newest
            FROM person_names JOIN people USING (source_id, frame_index, face_index) GROUP BY 1, 2
        ) GROUP BY 1"""


def _in_shot(rows: str, shots: str = "scenes", columns: str = "s.scene_index") -> str:
    """Rows with a `frame_index`, and the shot that each is in."""
    return f"""
        SELECT r.*, {columns} FROM ({rows}) r ASOF JOIN {shots} s
        ON r.source_id = s.source_id AND r.frame_index >= s.start_frame WHERE r.frame_index < s.end_frame"""


def _over_shots(rows: str) -> str:
    """Rows with `start_seconds` and `end_seconds`, once for each shot that they overlap.

    The first and the last such shot are found by sorting, so the cost does not grow with rows times shots. A
    row without length is in the shot that it lies in.
    """
    return f"""
        SELECT r.*, s.end_seconds - s.start_seconds AS shot_seconds,
            least(r.end_seconds, s.end_seconds) - greatest(r.start_seconds, s.start_seconds) AS shared
        FROM (
            SELECT r.*, unnest(range(coalesce(a.scene_index, 0),
                greatest(coalesce(a.scene_index, 0), b.scene_index) + 1))::INTEGER AS scene_index
            FROM ({rows}) r
            ASOF LEFT JOIN scenes a ON r.source_id = a.source_id AND r.start_seconds >= a.start_seconds
            ASOF JOIN scenes b ON r.source_id = b.source_id AND r.end_seconds >= b.start_seconds
        ) r JOIN scenes s USING (source_id, scene_index)
        WHERE r.start_seconds < s.end_seconds
            AND (r.end_seconds > s.start_seconds OR r.start_seconds >= s.start_seconds)"""


def _grouped(values: str, rows: str) -> str:
    return f"SELECT source_id, scene_index, {values} FROM ({rows}) GROUP BY 1, 2"


def _share(value: str) -> str:
    """At most 1, whatever rounding does; `least` would take null for more."""
    return f"CASE WHEN {value} > 1 THEN 1 ELSE {value} END"


def _listed(name: str, value: str, place: str, rows: str, part: str = "") -> str:
    """The distinct values of a shot as one list, by `place`, then by value."""
    return _grouped(
        f"list(value ORDER BY place, value){part} AS {name}",
        f"SELECT source_id, scene_index, {value} AS value, {place} AS place FROM ({rows}) GROUP BY 1, 2, 3",
    )


def _framed(has_thumbnails: bool) -> str:
    """Sampled frames, how sharp they are, and the best: the better it is, the higher `place`."""
    margin = f"CASE transition WHEN 'start' THEN 0 WHEN 'cut' THEN {CUT_SECONDS} ELSE {FADE_SECONDS} END"
    shots = f"""(
        SELECT *, start_seconds + {margin} AS settles, end_seconds - coalesce(lead({margin})
            OVER (PARTITION BY source_id ORDER BY scene_index), 0) AS unsettles FROM scenes)"""
    picked = """
        SELECT f.*, t.score, t.picture FROM frames f LEFT JOIN (
            SELECT source_id, frame_index, max(score) AS score, any_value(image) AS picture
            FROM thumbnails GROUP BY 1, 2
        ) t USING (source_id, frame_index)"""
    rows = picked if has_thumbnails else "SELECT *, NULL::FLOAT AS score, NULL::BLOB AS picture FROM frames"
    rank = """(coalesce(score, -1), pts_seconds >= settles AND pts_seconds < unsettles,
        coalesce(frame_score, -1), -frame_index)"""
    # The picture in a struct: alone, the largest frame that has one would be taken.
    return _grouped(
        f"""count(*) AS num_frames, avg(sharpness) AS sharpness,
        arg_max(frame_index, {rank}) AS best_frame, arg_max(pts_seconds, {rank}) AS best_seconds,
        max({rank}) AS place,
        arg_max({{'image': coalesce(image, picture)}}, {rank}).image AS still""",
        _in_shot(rows, shots, "s.scene_index, s.settles, s.unsettles"),
    )


def _faced(has_media: bool) -> str:
    """Most faces at once, and the share of the picture of the largest."""
    sizes = "SELECT source_id, max(width::DOUBLE * height) AS pixels FROM media GROUP BY 1"
    if not has_media:
        sizes = "SELECT '' AS source_id, NULL::DOUBLE AS pixels LIMIT 0"
    rows = """
        SELECT source_id, frame_index, count(*) AS num_faces,
            max((box.x1 - box.x0)::DOUBLE * (box.y1 - box.y0)) AS area FROM faces GROUP BY 1, 2"""
    return _grouped(
        f"max(num_faces) AS num_faces, {_share('max(area / nullif(pixels, 0))')} AS face_share",
        f"SELECT * FROM ({_in_shot(rows)}) LEFT JOIN ({sizes}) USING (source_id)",
    )


def _spans(has_lines: bool) -> str:
    """Text on screen up to the last frame that shows it.

    A span ends at the first sampled frame without it, which may lie in a later shot that never showed it.
    """
    if not has_lines:
        return "FROM text_spans"
    return """
        SELECT r.* REPLACE (greatest(r.start_seconds, coalesce(t.pts_seconds, r.start_seconds)) + 1e-6
            AS end_seconds)
        FROM text_spans r ASOF LEFT JOIN (SELECT DISTINCT source_id, pts_seconds FROM text) t
        ON r.source_id = t.source_id AND r.end_seconds > t.pts_seconds"""


def _said() -> str:
    """Words where their times are known, else whole segments; speech, else the first stream of subtitles."""
    rows = """
        WITH chosen AS (
            FROM transcript QUALIFY rank() OVER (
                PARTITION BY source_id ORDER BY origin <> 'speech', coalesce(stream_index, -1)) = 1
        )
        SELECT source_id, segment_index, place, word.start_seconds AS start_seconds,
            word.end_seconds AS end_seconds, word.text AS text
        FROM (
            SELECT source_id, segment_index, unnest(words) AS word, unnest(range(len(words))) AS place
            FROM chosen
        )
        UNION ALL SELECT source_id, segment_index, 0, start_seconds, end_seconds, text
        FROM chosen WHERE coalesce(len(words), 0) = 0"""
    return _grouped(
        r"string_agg(replace(text, chr(10), ' '), ' ' ORDER BY segment_index, place) AS words",
        _over_shots(rows),
    )


def _captioned() -> str:
    """What a model says of the shot, or where it was asked about clips alone, of those that lie in it."""
    said = """
        SELECT source_id, of, clip_index, start_seconds, end_seconds, text, tags FROM captions
        WHERE status = 'ok'"""
    # By the alphabet `shot` comes after `clip`.
    return f"""
        SELECT source_id, scene_index, arg_max(caption, of) AS caption, arg_max(keywords, of) AS keywords
        FROM (
            SELECT source_id, scene_index, of, string_agg(text, ' ' ORDER BY start_seconds) AS caption,
                list_sort(list_distinct(flatten(list(coalesce(tags, []))))) AS keywords
            FROM ({_placed(said, "of, clip_index")}) GROUP BY 1, 2, 3
        ) GROUP BY 1, 2"""


def _heard() -> str:
    """The mean power of the windows that begin in a shot."""
    return """
        SELECT r.source_id, s.scene_index, 10 * log10(avg(pow(10, r.rms_db / 10))) AS loudness
        FROM audio_levels r ASOF JOIN scenes s
        ON r.source_id = s.source_id AND r.start_seconds >= s.start_seconds
        WHERE r.start_seconds < s.end_seconds GROUP BY 1, 2"""
