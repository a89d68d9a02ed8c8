"""The commands of Framemill that the benchmarks run, and checks of what they wrote."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from benchmarks.harness import BenchmarkError, Command, Setting, remove, time_until
from framemill.models.registry import ModelEntry, resolve

MODELS = Path(__file__).with_name("models.toml")


def named_model(role: str) -> ModelEntry:
    """The model that the benchmarks name for a role."""
    return resolve(role, tomllib.loads(MODELS.read_text("utf-8"))["model"][role])


def extract(
    setting: Setting,
    sources: Sequence[Path],
    output: Path,
    *options: str,
    expect: Sequence[str] = (),
    fresh: bool = True,
    check: Callable[[str], None] = lambda stdout: None,
    watch_memory: bool = False,
) -> Command:
    """`framemill extract`; afterwards the tables named in `expect` must hold rows, and `errors` none."""

    def checked(stdout: str) -> None:
        for table in expect:
            if not read_table(output, table).num_rows:
                raise BenchmarkError(f"no rows in {table} of {output}")
        failures = read_table(output, "errors")
        if failures.num_rows:
            raise BenchmarkError(f"failed inputs: {failures.slice(0, 3).to_pylist()}")
        check(stdout)

    arguments: list[str | Path] = [
        sys.executable,
        "-m",
        "framemill",
        "extract",
        *sources,
        "-o",
        output,
        "--json",
        "-q",
        "--config",
        MODELS,
        *options,
    ]
    return Command(
        arguments=arguments,
        prepare=(lambda: remove(output)) if fresh else (lambda: None),
        check=checked,
        environment={"FRAMEMILL_MODEL_MIRROR": str(setting.models), "FRAMEMILL_OFFLINE": "1"},
        watch_memory=watch_memory,
    )


def time_until_rows(command: Command, output: Path) -> float:
    """Seconds from the start of the command until the first part of rows has its name in `output`."""

    def published() -> bool:
        return any(path.parent.name not in ("runs", "errors") for path in output.glob("*/part-*.parquet"))

    return time_until(command, published)


def read_table(output: Path, name: str) -> pa.Table:
    """All rows of one table; an empty table where there is none."""
    if not list((output / name).glob("*.parquet")):
        return pa.table({})
    table: pa.Table = ds.dataset(output / name, format="parquet").to_table()
    return table


def require_nothing_computed(stdout: str) -> None:
    """For a second run: raises unless the summary says that nothing was computed."""
    computed = json.loads(stdout)["files_computed"]
    if computed:
        raise BenchmarkError(f"{computed} files were computed again")
