"""Framemill's public API: videos in, tables out.

    import framemill

    summary = framemill.extract(["videos/"], "out", ops=["frames", "scenes"], sample="every:1")
    results = framemill.open("out")
    results.tables()                                       # ['errors', 'frames', 'media', ...]
    results.table("scenes")                                # pyarrow.Table
    results.sql("SELECT count(*) AS n FROM scenes").rows   # [(12,)]

Errors are those of `framemill.errors`: `framemill.FramemillError` and what derives from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framemill.errors import DatasetError, FramemillError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from framemill.cluster.request import ExtractRequest, Reporter, RunSummary
    from framemill.cluster.results.answers import QueryResult
    from framemill.cluster.results.dataset import Dataset
    from framemill.ops.operation import Op

if Path(__file__).with_name("models").is_file():
    # Some ways of packing a checkout turn its links into text files.
    raise ImportError(
        f"{Path(__file__).parent} holds text files where links to the folders cluster, actors, ops and "
        "models should be: unpack it with a tool that keeps symbolic links, submit the folder instead of an "
        "archive (`ray job submit --working-dir .`), or install framemill with pip"
    )

__version__ = "0.1.0"
__all__ = ["FramemillError", "Results", "__version__", "extract", "open"]

_READ_ATTEMPTS = 5  # a compaction may replace parts while they are read


def extract(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    ops: Sequence[str | type[Op]] = (),
    sample: str = "keyframes",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    reporter: Reporter | None = None,
    clips: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RunSummary:
    """Extracts tables from media files into a result folder, and computes only what is missing there.

    A file that cannot be processed becomes a row of `errors` and raises nothing: look at
    `RunSummary.exit_code` and `RunSummary.errors`. Configuration files and variables are not read.

    Args:
        sources: files, folders, globs or `@list.txt`; one or several.
        output: result folder; made if missing.
        ops: names of operations, also package.module:Class or such a class itself for one of your own; empty
            means those that run by default.
        sample: keyframes, keyframes:N, every:SECONDS, scenes, adaptive or all.
        options: per operation, option name -> value, such as {"frames": {"images": True}}.
        models: role -> name or path.
        reporter: where progress and messages go; None shows nothing.
        clips: what clips to cut of the folder once it holds what was asked for: the options of `framemill
            clips` by name, such as {"plan": "shots", "to": "/mnt/clips", "max_seconds": 10}; None for none.
        settings: further fields of `framemill.cluster.request.ExtractRequest`, such as threads=2.

    Raises:
        UsageError: an argument is unknown or wrong; the message names it, its value and what is allowed.
        FramemillError: an unusable folder, or a missing model; nothing was computed.
    """
    from framemill.cluster.extraction import run_extract
    from framemill.cluster.request import SilentReporter

    methods = [getattr(reporter, name, None) for name in ("progress", "message")]
    if reporter is not None and (isinstance(reporter, type) or not all(map(callable, methods))):
        raise UsageError(
            f"reporter={reporter!r} is not an object with methods progress(snapshot) and message(level, text)"
        )
    asked = {"ops": ops, "sample": sample, "options": options, "models": models, **settings}
    request = _request(sources, output, **asked)
    if clips is None:
        return run_extract(request, reporter or SilentReporter())
    if not isinstance(clips, Mapping):
        raise UsageError(f"clips={clips!r} is not a mapping, such as {{'plan': 'shots', 'to': '/mnt/clips'}}")
    from framemill.cluster.clips.extracting import can_be_cut, cut_extracted, prepare, reserve, with_clips

    request, cut = prepare(request, clips)
    reserve(request, cut)
    summary = run_extract(request, reporter or SilentReporter())
    return with_clips(summary, cut_extracted(request.output, cut)) if can_be_cut(summary) else summary


def _request(
    sources: Any, output: Any, *, ops: Any, sample: Any, options: Any, models: Any, **settings: Any
) -> ExtractRequest:
    """Of arguments as `extract` takes them."""
    given = {
        "sources": _listed([sources] if isinstance(sources, str | os.PathLike) else sources, _plain),
        "output": _plain(output),
        "ops": _listed(ops, _spec),
        "sample": sample,
        "options": {} if options is None else options,
        "models": {} if models is None else models,
        **settings,
    }
    from framemill.cluster.request import ExtractRequest, convert, kinds_of_fields

    kinds = kinds_of_fields()
    for name, value in given.items():
        if name not in kinds:
            import difflib

            near = difflib.get_close_matches(name, kinds, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(kinds)}"
            raise UsageError(f"unknown argument {name}={value!r}; {advice}")
        given[name] = convert(f"{name}=", value, kinds[name])
    return ExtractRequest(**given)


def _plain(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _spec(op: Any) -> str:
    if isinstance(op, str):
        return op
    from framemill.plugins import spec_of  # only now: it imports what an operation is made of

    return spec_of(op)


def _listed(values: Any, as_text: Callable[[Any], Any]) -> Any:
    """What can be gone through as a tuple; anything else, a single text too, as it is."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return values
    return tuple(map(as_text, values))


def open(output: str | os.PathLike[str]) -> Results:
    """The results in a folder that `extract` made; raises FramemillError where there are none."""
    from framemill.cluster.results.dataset import Dataset

    if not isinstance(output, str | os.PathLike):
        raise UsageError(f"output={output!r} is not a path")
    return Results(Dataset.open(output, create=False))


class Results:
    """A result folder, read through its commit log: exact even while another run commits or compacts.

    Each call sees what is committed at its time.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def tables(self) -> list[str]:
        """Names of the tables, sorted; `errors` and `runs` are always among them."""
        from framemill.cluster.results.queries import table_names

        self._dataset.reload()
        return table_names(self._dataset.state)

    def table(self, name: str) -> pa.Table:
        """All rows of a table, in no particular order; each row starts with its source_id.

        Raises:
            UsageError: there is no such table here.
            DatasetError: a part cannot be read.
        """
        from framemill.cluster.results.queries import dataset_tables

        failure: Exception | None = None
        for _ in range(_READ_ATTEMPTS):
            self._dataset.reload()
            try:
                tables = dataset_tables(self._dataset, [name])
                if name not in tables:
                    raise UsageError(f"no table {name!r} here; there are {', '.join(self.tables())}")
                return tables[name].to_table()
            except (DatasetError, OSError) as error:
                failure = error
        raise DatasetError(f"table {name} of {self._dataset.root} cannot be read: {failure}") from failure

    def sql(
        self, query: str, limit: int | None = None, *, timeout: float = 600.0, memory: int | str = 0
    ) -> QueryResult:
        """Answers one reading SQL statement; every table is a view, no other file can be read.

        It runs in a process of its own, which is ended where it crosses a limit.

        Args:
            limit: most rows to give, and to hold; None for all, up to ten million.
            timeout: seconds that it may take, > 0.
            memory: bytes that it may take, or a size such as "4GB"; 0 for 0.7 of the machine's.

        Raises:
            UsageError: the statement is refused, or takes more than it may.
            DatasetError: a part cannot be read.
        """
        from framemill.cluster.config import parse_size
        from framemill.cluster.results.sql_process import query_bounded

        if not isinstance(query, str):
            raise UsageError(f"query={query!r} is not a text with one SQL statement")
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise UsageError(f"limit={limit!r} is no number of rows, 0 or more")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise UsageError(f"timeout={timeout!r} is no number of seconds")
        try:
            num_bytes = parse_size(memory)
        except ValueError as exc:
            raise UsageError(f"memory={memory!r} {exc}") from exc
        return query_bounded(self._dataset.root, query, limit, timeout, num_bytes)
