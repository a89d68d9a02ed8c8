"""Estimated recall of cascades: the table `recall`, and a line of text per operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from framemill.cluster.corpus.recall_estimate import Estimate, estimate_recall
from framemill.cluster.results.corpus_tables import corpus_key, is_current, replace_table
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import CORPUS_TABLES, dataset_tables, query
from framemill.ops.columns import column

TABLE = "recall"
SOURCE_TABLE = "candidates"
VERSION = 1
COUNTS = ("num_candidates", "num_kept", "num_audited", "num_found", "num_missed")

RECALL_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("operation", pa.string(), "the operation that saw only some of the sampled frames"),
        column("num_candidates", pa.int64(), "frames that were sampled"),
        column("num_kept", pa.int64(), "of those, frames that were kept as the best"),
        column("num_audited", pa.int64(), "frames drawn at random from the others, and looked at too"),
        column("num_found", pa.int64(), "kept frames in which it found something"),
        column(
            "num_missed",
            pa.int64(),
            "audited frames in which it found a label (or, without labels, anything at all) that it did not "
            "find in the kept frame that stands for them",
        ),
        column(
            "recall",
            pa.float64(),
            "estimated share of the frames with findings of their own that were kept, 0 to 1: found / (found "
            "+ missed), each miss weighed by left out / audited; null where the audit tells nothing",
            nullable=True,
        ),
        column("recall_low", pa.float64(), "lower end of its 95% interval (exact)", nullable=True),
        column("recall_high", pa.float64(), "upper end of its 95% interval (exact)", nullable=True),
    ]
)

_COUNT = """
WITH found AS (SELECT DISTINCT source_id, frame_index, {label} AS label FROM "{op}"),
looked AS (
    SELECT c.source_id, c.frame_index, bool_or(s.frame_index IS NULL) AS is_new
    FROM candidates c JOIN found f ON f.source_id = c.source_id AND f.frame_index = c.frame_index
    LEFT JOIN found s
        ON s.source_id = c.source_id AND s.frame_index = c.stand_in_frame AND s.label = f.label
    WHERE c.decision <> 'skipped'
    GROUP BY 1, 2
)
SELECT c.source_id, count(*), count(*) FILTER (decision = 'kept'), count(*) FILTER (decision = 'audited'),
    count(*) FILTER (decision = 'kept' AND l.is_new IS NOT NULL),
    count(*) FILTER (decision = 'audited' AND l.is_new)
FROM candidates c LEFT JOIN looked l ON l.source_id = c.source_id AND l.frame_index = c.frame_index
WHERE c.source_id IN (SELECT source_id FROM sources)
GROUP BY 1 ORDER BY 1
"""


def update_recall(dataset: Dataset, run_id: str, recall_target: float) -> list[str]:
    """Updates the table `recall` where it is out of date; returns a line of text per operation.

    Call it inside `dataset.hold`, after what the run made is committed.
    """
    keys = dataset.state.keys
    tables = dataset_tables(dataset)
    made = [op for op in keys if op in tables and op not in CORPUS_TABLES]
    cascaded = [op for op in made if SOURCE_TABLE in keys[op].get("after", {})]
    if not cascaded:
        return []
    key = corpus_key(dataset, TABLE, SOURCE_TABLE, VERSION, {"operations": cascaded}, cascaded)
    rows = [row for op in cascaded for row in _count(dataset, op, tables[op].schema.names)]
    if not is_current(dataset, TABLE, SOURCE_TABLE, key):
        table = pa.Table.from_pylist(rows, schema=RECALL_SCHEMA)
        replace_table(dataset, run_id, TABLE, SOURCE_TABLE, key, table)
    lines = []
    for op in cascaded:
        sums = Counter[str]()
        for row in rows:
            if row["operation"] == op:
                sums.update({name: row[name] for name in COUNTS})
        lines.append(_describe(op, sums, recall_target))
    return lines


def _count(dataset: Dataset, op: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    label = "CAST(label AS VARCHAR)" if "label" in columns else "''"
    # Frames that were chosen anew and findings from before do not belong together.
    outdated = dataset.state.outdated(SOURCE_TABLE) | dataset.state.outdated(op)
    found = []
    for source_id, *numbers in query(str(dataset.root), _COUNT.format(op=op, label=label)).rows:
        if source_id in outdated:
            continue
        counts = dict(zip(COUNTS, numbers, strict=True))
        estimate = _estimate(counts)
        found.append(
            {"source_id": source_id, "operation": op, **counts}
            | {"recall": estimate.recall, "recall_low": estimate.low, "recall_high": estimate.high}
        )
    return found


def _estimate(counts: Any) -> Estimate:
    left_out = counts["num_candidates"] - counts["num_kept"]
    return estimate_recall(counts["num_found"], left_out, counts["num_audited"], counts["num_missed"])


def _describe(op: str, counts: Counter[str], target: float) -> str:
    left_out = counts["num_candidates"] - counts["num_kept"]
    num_looked = counts["num_kept"] + counts["num_audited"]
    looked = f"{op} looked at {num_looked} of {counts['num_candidates']} frames"
    estimate = _estimate(counts)
    if estimate.low is None or estimate.high is None:
        return f"{looked} and found nothing, so that no recall can be told"
    audit = f"from {counts['num_audited']} of {left_out} frames left out"
    share = "unknown" if estimate.recall is None else f"about {estimate.recall:.3f}"
    interval = f"{estimate.low:.3f} to {estimate.high:.3f} with 95% confidence"
    line = f"{looked}; recall {share} ({interval}, {audit})"
    if estimate.high < target:
        line += f"; that is below {target:g}: raise `recall_target`"
    return line
