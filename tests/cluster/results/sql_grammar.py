"""Random statements in DuckDB's language: what reads, what takes without end, what reaches for files."""

from __future__ import annotations

import random
from collections.abc import Sequence


def _words(text: str, between: str | None = None) -> list[str]:
    return [word.strip() for word in text.split(between)]


SIZES = (0, 1, 2, 3, 7, 10, 50, 100, 1000, 5000)
HUGE = (100_000, 10**7, 10**9, 10**12)
TYPES = (
    *_words("INTEGER BIGINT HUGEINT UTINYINT DOUBLE FLOAT VARCHAR BLOB BIT DATE TIME TIMESTAMP TIMESTAMPTZ"),
    *_words("INTERVAL UUID BOOLEAN JSON INTEGER[] VARCHAR[] INTEGER[3] DECIMAL(38,10) MAP(VARCHAR,INTEGER)"),
    "STRUCT(a INTEGER, b VARCHAR)",
    "UNION(n INTEGER, t VARCHAR)",
)
LITERALS = (
    *_words("NULL 0 -1 9223372036854775807 170141183460469231731687303715884105727 1e308 'nan'::DOUBLE"),
    *_words("'inf'::DOUBLE '' 'a' '\\x00' '😀' '%' true 'infinity'::DATE [] '\\xAA'::BLOB '101'::BIT $$q$$"),
    *("TIMESTAMPTZ '290000-01-01 00:00:00+00'", "INTERVAL '3 months'", "DATE '2026-01-02'"),
    *("[1, 2, NULL]", "{'a': 1, 'b': 'x'}", "MAP {'k': 1}"),
)
# Functions by what they give, with arguments: a number, a text, a list, a size or anything.
NUMBERS = _words(
    """
abs({number}) ; length({text}) ; {number} + {number} ; {number} - {number} ; {number} * {number}
; {number} % 7 ; {number} // 3 ; hash({any}) % 1000 ; CAST({number} % 100 AS DOUBLE)
; TRY_CAST({any} AS BIGINT) ; bit_count({number}) ; sqrt(abs({number})) ; levenshtein({text}, {text})
; len({list}) ; list_sum({list}) ; ascii({text}) ; year(DATE '2026-01-02' + {size}::INTEGER)
; factorial({size}) ; pow({number}, 2) ; strlen({text})
; CASE WHEN {condition} THEN {number} ELSE {number} END ; gcd({size}, 6)
; (SELECT max(value) FROM {source}) ; list_position({list}, {number}) ; jaccard({text}, {text})
; xor({size}, 3) ; {size} ; unicode({text}) ; date_part('day', TIMESTAMP '2026-01-02 03:04:05')
; instr({text}, {text}) ; {number}::HUGEINT
""",
    ";",
)
TEXTS = _words(
    """
upper({text}) ; reverse({text}) ; md5({text}) ; typeof({any}) ; to_json({any})::VARCHAR
; repeat({text}, {size}) ; left({text}, 3) ; lpad({text}, {size}, 'y') ; {text} || {text}
; CAST({any} AS VARCHAR) ; regexp_replace({text}, '{pattern}', 'b', 'g') ; printf('%d', {size})
; format('{{}}', {text}) ; split_part({text}, 'a', 1) ; trim({text}) ; strftime(DATE '2026-01-02', '%Y')
; chr({size}) ; to_base64({text}::BLOB) ; nfc_normalize({text}) ; url_encode({text})
; translate({text}, 'ab', 'c') ; bar({size}, 0, 9) ; regexp_extract({text}, '{pattern}')
; list_aggregate({list}, 'string_agg', ',') ; concat_ws('-', {any}, {any}) ; replace({text}, 'a', {text})
""",
    ";",
)
LISTS = _words(
    """
[{number}, {number}] ; range({size}) ; list_sort({list}) ; list_distinct({list})
; list_transform({list}, lambda x: x * 2) ; list_filter({list}, lambda x: x > 1)
; list_concat({list}, {list}) ; generate_series(1, {size}) ; {list}[1:2] ; list_reverse({list})
; list_resize({list}, {size}) ; (SELECT list(value) FROM {source}) ; flatten([{list}, {list}])
; array_slice({list}, 1, {size})
""",
    ";",
)
AGGREGATES = _words(
    "count sum avg min max mode median list histogram string_agg stddev first approx_count_distinct "
    "quantile_cont bool_and bit_xor entropy arg_max product kurtosis"
)
WINDOWS = _words(
    "row_number()|rank()|lag(value)|lead(value, 3)|ntile(4)|sum(value)|mode(value)|list(value)|cume_dist()",
    "|",
)
PATTERNS = (
    "(a+)+$",
    "(a?){30}a{30}",
    ".*.*.*=.*",
    "[",
    "(",
    "\\\\p{L}+",
    "(?i)x",
    "^$",
    "a{1000}",
    "(?P<n>a)",
)
JOINS = _words("CROSS JOIN|JOIN|LEFT JOIN|FULL JOIN|SEMI JOIN|ASOF JOIN|POSITIONAL JOIN", "|")
READERS = _words(
    "read_csv read_text read_blob read_parquet read_json glob sniff_csv parquet_metadata read_xlsx st_read"
)
# Whole statements, a line each: without parts of their own, without an end, and out of the tables.
PLAIN = """
SHOW TABLES
DESCRIBE scenes
SUMMARIZE scenes
PIVOT scenes ON source_id USING sum(value)
FROM duckdb_settings()
FROM duckdb_functions()
PRAGMA database_list
UNPIVOT scenes ON value INTO NAME n VALUE v
CALL pragma_version()
CHECKPOINT
""".strip().splitlines()
ENDLESS = """
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t
WITH RECURSIVE t AS (SELECT 'x' AS n UNION ALL SELECT n || n FROM t) SELECT max(length(n)) FROM t
SELECT length(repeat('x', {n}))
SELECT len(range({n}))
SELECT count(*) FROM range({n}) a, range({n}) b
SELECT length(lpad('', {n}, 'y'))
SELECT printf('%{n}d', 1)
SELECT list_resize([1], {n})
SELECT * FROM range({n})
SELECT levenshtein(repeat('a', {n} // 10), repeat('b', {n} // 10))
SELECT replace(repeat('a', {n} // 100), 'a', repeat('b', {n} // 100))
SELECT mode(i) OVER (ROWS BETWEEN {n} PRECEDING AND {n} FOLLOWING) FROM range({n}) t(i)
SELECT string_agg(repeat('z', 1000), ',') FROM range({n})
""".strip().splitlines()
REACHING = """
SELECT * FROM {reader}('{path}')
SELECT * FROM '{path}'
COPY scenes TO '{path}'
WITH x AS (COPY (SELECT 1) TO '{path}' (FORMAT parquet, USE_TMP_FILE false)) SELECT * FROM x
ATTACH '{path}'
SELECT * FROM query('SELECT * FROM {reader}(''{path}'')')
SELECT * FROM query_table('{path}')
EXPORT DATABASE '{path}'
IMPORT DATABASE '{path}'
INSTALL httpfs
LOAD '{path}'
SET enable_external_access = true
SET lock_configuration = false
RESET memory_limit
SELECT getenv('HOME')
SELECT * FROM sqlite_scan('{path}', 't')
SELECT * FROM postgres_scan('{path}', 'a', 'b')
SELECT * FROM 'https://127.0.0.1:9/x.parquet'
FROM duckdb_secrets()
CREATE TABLE t AS SELECT 1
DROP VIEW scenes
CREATE SECRET s (TYPE s3)
PRAGMA enable_profiling
PRAGMA profiling_output='{path}'
SELECT pg_read_file('{path}')
USE temp
VACUUM
""".strip().splitlines()


class Grammar:
    """Statements, the same for the same seed.

    Args:
        paths: of files that nobody may read or write.
    """

    def __init__(self, seed: int, paths: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._paths = paths

    def statement(self) -> str:
        """One statement, most of which are valid."""
        kind = self._random.random()
        if kind < 0.06:
            return self._pick(REACHING).format(reader=self._pick(READERS), path=self._pick(self._paths))
        if kind < 0.12:
            return self._endless()
        if kind < 0.16:
            return self._broken(self._select(2))
        if kind < 0.19:
            return self._pick(PLAIN)
        explained = "EXPLAIN " if kind < 0.20 else "EXPLAIN ANALYZE " if kind < 0.21 else ""
        return explained + self._select(3)

    def _pick(self, options: Sequence[str]) -> str:
        return self._random.choice(options)

    def _size(self) -> int:
        return self._random.choice(HUGE if self._may(0.04) else SIZES)

    def _may(self, share: float) -> bool:
        return self._random.random() < share

    def _select(self, depth: int) -> str:
        """A SELECT over a source, with its two columns as the last ones."""
        kind = self._random.random()
        if kind < 0.3:
            made = [
                f"{self._pick(AGGREGATES)}({self._any(depth - 1)})" for _ in range(self._random.randint(1, 3))
            ]
        elif kind < 0.5:
            made = [f"{self._pick(WINDOWS)} OVER ({self._frame()})", self._any(depth - 1)]
        else:
            made = [self._any(depth - 1) for _ in range(self._random.randint(1, 3))]
        distinct = "DISTINCT " if self._may(0.2) else ""
        text = f"SELECT {distinct}{', '.join(made)}, source_id, value FROM {self._source(depth)}"
        if self._may(0.4):
            text += f" WHERE {self._condition(depth - 1)}"
        if kind < 0.3:
            text += " GROUP BY " + self._pick(("ALL", "ALL", "ALL", "CUBE (source_id, value)", "1"))
        elif kind < 0.5 and self._may(0.3):
            text += f" QUALIFY row_number() OVER ({self._frame()}) < 3"
        if self._may(0.3):
            text += " ORDER BY " + self._pick(("ALL", "1 DESC NULLS LAST", "random()"))
        if self._may(0.5):
            text += " LIMIT " + self._pick(("3", "10%", str(self._size()), f"1 OFFSET {self._size()}"))
        if depth > 1 and self._may(0.15):
            how = self._pick(("UNION ALL", "EXCEPT", "INTERSECT", "UNION BY NAME"))
            other = f"SELECT source_id, value FROM {self._source(1)}"
            text = f"(SELECT source_id, value FROM ({text})) {how} ({other})"
        if depth > 1 and self._may(0.1):
            text = f"WITH w AS {self._pick(('', 'MATERIALIZED '))}({self._select(1)}) {text}"
        return text

    def _source(self, depth: int) -> str:
        """Rows with a text `source_id` and a number `value`."""
        kind = self._random.random()
        made = f"(SELECT 'x' || value AS source_id, value FROM range({self._size()}) r(value)) r"
        if kind < 0.35:
            return "scenes"
        if kind < 0.45:
            return "(SELECT source_id, num_bytes AS value FROM sources) s"
        if kind < 0.6:
            return made
        if kind < 0.7:
            return f"(VALUES ({self._text(0)}, {self._number(0)}), ('b', 2)) v(source_id, value)"
        if kind < 0.8 and depth > 0:
            return f"(SELECT source_id, value FROM ({self._select(depth - 1)})) q"
        if kind < 0.9:
            how = self._pick(JOINS)
            on = "" if how in ("CROSS JOIN", "POSITIONAL JOIN") else " ON a.value >= b.value"
            other = self._pick(("scenes", made[:-2]))
            return f"(SELECT a.source_id, a.value FROM scenes a {how} {other} b{on}) j"
        return f"(SELECT source_id, unnest({self._list(1)}) AS value FROM scenes) u"

    def _frame(self) -> str:
        unit = self._pick(("ROWS", "RANGE", "GROUPS"))
        between = f"BETWEEN {self._size()} PRECEDING AND {self._size()} FOLLOWING"
        return self._pick(
            (
                "",
                "PARTITION BY source_id",
                "ORDER BY value",
                f"ORDER BY value {unit} {between}",
                f"PARTITION BY value ORDER BY value {unit} UNBOUNDED PRECEDING EXCLUDE TIES",
            )
        )

    def _condition(self, depth: int) -> str:
        return self._pick(
            (
                f"{self._any(depth)} IS NOT NULL",
                f"{self._number(depth)} BETWEEN 1 AND 200",
                f"value IN (SELECT value FROM {self._source(0)})",
                f"source_id LIKE '%{self._pick(('a', '_', '%'))}%'",
                f"regexp_matches({self._text(depth)}, '{self._pick(PATTERNS)}')",
                f"EXISTS (SELECT 1 FROM {self._source(0)})",
                f"list_contains({self._list(depth)}, 2)",
                "source_id SIMILAR TO '(a|b)*'",
            )
        )

    def _any(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.1:
            return self._pick(LITERALS)
        if kind < 0.25:
            cast = self._pick(("CAST", "TRY_CAST", "TRY_CAST"))
            return f"{cast}({self._any(depth - 1)} AS {self._pick(TYPES)})"
        if kind < 0.3:
            return f"{{'a': {self._number(depth - 1)}, 'b': {self._text(depth - 1)}}}"
        return self._pick((self._number, self._text, self._list))(depth)  # type: ignore[operator, arg-type]

    def _number(self, depth: int) -> str:
        return self._filled(NUMBERS, depth) if depth > 0 and self._may(0.6) else "value"

    def _text(self, depth: int) -> str:
        return (
            self._filled(TEXTS, depth)
            if depth > 0 and self._may(0.6)
            else self._pick(("source_id", "'ab%😀'"))
        )

    def _list(self, depth: int) -> str:
        return self._filled(LISTS, depth) if depth > 0 and self._may(0.6) else "[1, 2, NULL, value]"

    def _filled(self, templates: Sequence[str], depth: int) -> str:
        """A function with arguments, one time in fifty of a wrong kind."""
        parts = {
            "number": self._number,
            "text": self._text,
            "list": self._list,
            "any": self._any,
            "condition": self._condition,
            "source": self._source,
        }
        made = {name: make(depth - 1) for name, make in parts.items()}
        if self._may(0.02):
            made["number"], made["text"] = made["text"], made["list"]
        return self._pick(templates).format(**made, size=self._size(), pattern=self._pick(PATTERNS))

    def _endless(self) -> str:
        """What never comes to an end by itself, takes memory out of DuckDB's sight, or nests too deeply."""
        number = 10 ** self._random.randint(6, 11)
        deep = number // 10**5
        nested = (
            f"SELECT {'(' * deep}1{')' * deep}",
            f"SELECT {'1 + ' * min(number // 10**3, 200_000)}1",
            f"SELECT {'[' * 5000}{']' * 5000}",
            f"SELECT '{'x' * min(number, 900_000)}'",
            f"SELECT {'-' * min(deep, 500_000)}1",
        )
        return self._pick(nested) if self._may(0.2) else self._pick(ENDLESS).format(n=number)

    def _broken(self, text: str) -> str:
        """A statement with a piece left out, doubled or replaced."""
        at, length = self._random.randrange(len(text)), self._random.randint(1, 12)
        twice = text[at : at + length] * 2
        put = self._pick(("", twice, "\0", ";", "'", "--", "/*", "$$", "\ud800", "é", "((((", "::"))
        return text[:at] + put + text[at + length :]
