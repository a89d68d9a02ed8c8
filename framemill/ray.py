"""Framemill as a stage of a Ray Data pipeline: a dataset with a column of files in, their tables beside it.

    import framemill.ray
    import ray

    clips = ray.data.from_items([{"uri": "/mnt/clips/a.mp4"}, {"uri": "s3://bucket/b.mp4"}])
    rows = framemill.ray.extract(clips, ops=["frames", "scenes"], sample="every:1")
    rows.filter(expr="status == 'ok'").map(lambda row: {"uri": row["uri"], "shots": len(row["scenes"])})

Needs the extra `ray`. Each file is opened and decoded once, for all operations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

try:
    import ray.data
except ImportError as exc:
    raise ImportError('framemill.ray needs the extra `ray`: pip install ".[ray]"') from exc

import framemill
from framemill import _request as request_of
from framemill.cluster.engines.ray import stage
from framemill.cluster.in_memory import InMemoryExtraction, plan_in_memory
from framemill.cluster.request import ExtractRequest
from framemill.errors import FramemillError, UsageError

if TYPE_CHECKING:
    from framemill.ops.operation import Op

__all__ = ["Extractor", "extract"]

# Of the settings, those that say how actors are placed; `map_batches` has its own names for them.
_PLACING = ("actors", "actor_cpus", "actor_gpus", "actors_per_gpu")


@overload
def extract(
    dataset: ray.data.Dataset,
    *,
    column: str = "uri",
    output: None = None,
    ops: Sequence[str | type[Op]] = (),
    sample: str = "keyframes",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    strict: bool = False,
    batch_size: int = 1,
    **settings: Any,
) -> ray.data.Dataset: ...


@overload
def extract(
    dataset: ray.data.Dataset,
    *,
    column: str = "uri",
    output: str | os.PathLike[str],
    ops: Sequence[str | type[Op]] = (),
    sample: str = "keyframes",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    strict: bool = False,
    **settings: Any,
) -> dict[str, ray.data.Dataset]: ...


def extract(
    dataset: ray.data.Dataset,
    *,
    column: str = "uri",
    output: str | os.PathLike[str] | None = None,
    ops: Sequence[str | type[Op]] = (),
    sample: str = "keyframes",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    strict: bool = False,
    batch_size: int = 1,
    **settings: Any,
) -> ray.data.Dataset | dict[str, ray.data.Dataset]:
    """Extracts tables from the files that a column names.

    Without `output` the result is lazy and streams: a row for each row of `dataset`, with its columns, and

    - `source_id`: content id of the file, 64 hex digits; null where it could not be read,
    - for each operation a column of its name: the rows of that file in its table, a list of structs with the
      fields of the table, in no particular order; null where the operation failed,
    - `status`: ok; partial where less was decoded than the file promises; failed, quarantined or
      unsupported where an operation or the whole file gave nothing,
    - `error`: why, in words; null where nothing went wrong,
    - `errors`: the same as rows of the table `errors`.

    A file that cannot be processed is such a row and ends nothing. The rows of one file are one row here,
    held in memory by the actor and by what comes after: at most 1 GiB, more is the row's error. Each time the
    result is consumed it is computed anew, as any lazy dataset: keep it by `materialize()`, or write it.

    With `output` the files are extracted into that result folder, at once and as `framemill.extract` does:
    what is there already is not computed again, and what is finished survives a crash.

    Args:
        dataset: its column `column` holds absolute paths, or addresses with file://, s3:// or gs://, each of
            one file; the same may stand in several rows, and nulls in any.
        output: result folder, an absolute path that every node mounts, or an address; None for none.
        ops, sample, options, models: as `framemill.extract` takes them.
        strict: the first file with an error ends the dataset, or, with `output`, raises at the end.
        batch_size: files that travel to an actor together: more than 1 where they take less than 0.1 s each.
        settings: as `framemill.extract` takes them. `actors` (N or MIN-MAX) is the size of the pool, which
            otherwise grows from 1 with the work; `actor_cpus`, `actor_gpus` and `actors_per_gpu` are what
            each actor holds: by default a GPU where a model runs and there are any, else up to 4 CPUs.

    Returns:
        The dataset; or with `output` table name -> dataset of the rows of the whole folder, `errors` and
        `runs` among them.

    Raises:
        UsageError: an argument is unknown or wrong, or the dataset has no such column.
        FramemillError: with `output`, as `framemill.extract`.
    """
    if not isinstance(dataset, ray.data.Dataset):
        raise UsageError(f"dataset={dataset!r} is no ray.data.Dataset")
    if output is not None:
        if batch_size != 1:
            raise UsageError(f"`batch_size={batch_size!r}` has no meaning with `output`: leave it out")
        asked = {"ops": ops, "sample": sample, "options": options, "models": models, **settings}
        return _extract_into(dataset, column, output, strict, asked)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"`batch_size={batch_size!r}` is no number of files, 1 or more")
    request = _request(ops, sample, options, models, settings)
    _, plan = plan_in_memory(request)
    known = dataset.schema(fetch_if_missing=False)
    if known is not None:
        stage.check_columns(known.names, column, plan)
    arguments = {
        **{name: value for name, value in settings.items() if name not in _PLACING},
        **{"column": column, "strict": strict, "ops": request.ops, "sample": sample},
        **{"options": request.options, "models": request.models},
    }
    return stage.run_stage(dataset, Extractor, arguments, request, plan, batch_size)


class Extractor:
    """What `extract` runs in its actors, for a `map_batches` of your own.

        dataset.map_batches(
            framemill.ray.Extractor,
            fn_constructor_kwargs={"ops": ["frames", "objects"], "sample": "every:1"},
            batch_format="pyarrow", batch_size=8, compute=ray.data.ActorPoolStrategy(size=4), num_gpus=1,
        )

    It holds a worker process with the models, which is replaced where a file ends it, and uses the CPUs and
    GPUs that Ray granted to its actor; outside of an actor, those of the machine. It may be called from
    several threads at once.

    Args:
        column, ops, sample, options, models, strict: as `extract` takes them.
        settings: as `extract` takes them, but for what says how actors are placed.

    Raises:
        UsageError: an argument is unknown or wrong.
        ModelError: a model cannot be had.
    """

    def __init__(
        self,
        *,
        column: str = "uri",
        ops: Sequence[str | type[Op]] = (),
        sample: str = "keyframes",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        models: Mapping[str, str] | None = None,
        strict: bool = False,
        **settings: Any,
    ) -> None:
        for name in _PLACING:
            if name in settings:
                raise UsageError(
                    f"`{name}` is what `framemill.ray.extract` takes: `map_batches` has `compute`, "
                    "`num_cpus` and `num_gpus` for it"
                )
        self._column = column
        self._strict = strict
        request, in_flight = stage.take_share(_request(ops, sample, options, models, settings))
        self._extraction = InMemoryExtraction(request, in_flight)

    def __call__(self, batch: pa.Table | Mapping[str, Any]) -> Iterator[pa.Table]:
        """The rows of a batch in their order, each a table of one row with the columns that `extract` adds.

        Args:
            batch: a table, or column name -> values.

        Raises:
            UsageError: the column is not there or holds no texts.
            FramemillError: nothing can be extracted any more; or, if `strict`, a file has an error.
        """
        rows = batch if isinstance(batch, pa.Table) else pa.table(dict(batch))
        plan = self._extraction.plan
        stage.check_columns(rows.column_names, self._column, plan)
        uris = rows[self._column].to_pylist()
        texts = [uri and stage.require_text(self._column, uri) for uri in uris]
        asked = [self._extraction.ask(text) for text in texts]
        for number, (uri, answer) in enumerate(zip(uris, asked, strict=True)):
            found = answer.result()
            added = stage.result_row(uri or "", found, plan)
            if self._strict and added["error"][0].is_valid:
                raise FramemillError(f"{uri}: {added['error'][0]} (`strict`)")
            row = rows.slice(number, 1)
            yield pa.table({**dict(zip(row.column_names, row.columns, strict=True)), **added})

    def close(self) -> None:
        """Ends the worker process, which otherwise ends with this one."""
        self._extraction.close()


def _request(ops: Any, sample: Any, options: Any, models: Any, settings: Mapping[str, Any]) -> ExtractRequest:
    """As `framemill.extract` makes it of its arguments."""
    for name in ("sources", "output"):
        if name in settings:
            raise UsageError(f"unknown argument {name}={settings[name]!r}: files come from the dataset")
    return request_of((), "", ops=ops, sample=sample, options=options, models=models, **settings)


def _extract_into(
    dataset: ray.data.Dataset, column: str, output: Any, strict: bool, asked: dict[str, Any]
) -> dict[str, ray.data.Dataset]:
    for name in ("sources", "engine", "address"):
        if name in asked:
            raise UsageError(
                f"{name}={asked[name]!r}: the dataset says which files, and its Ray which machines"
            )
    with stage.as_the_user_set_it():
        summary = framemill.extract(stage.places_of(dataset, column), output, engine="ray", **asked)
    if summary.exit_code not in (0, 3, 4):
        raise FramemillError(f"interrupted: {output} holds what was finished, and the same call goes on")
    if summary.errors and (strict or summary.exit_code == 4):
        first = summary.errors[0]
        raise FramemillError(f"{first['uri']}: {first['message']}; {output} holds what came of the others")
    return stage.read_tables(summary.output)
