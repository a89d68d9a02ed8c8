"""What `framemill extract` says at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.output import as_flags, count_kinds, duration, from_here, print_table, printable

if TYPE_CHECKING:
    from framemill.cluster.request import RunSummary

_WHOLE_FILE = "*"  # the operation of a failure that concerns all of a file


def print_first_look(output: str, sources: tuple[str, ...]) -> None:
    """What a preview found, a row a file."""
    from framemill.cluster.without_pandas import without_pandas

    with without_pandas():
        from framemill.cluster.preview import first_look

        rows = first_look(output, sources)
    if rows:
        print_table(tuple(rows[0]), [list(row.values()) for row in rows])
        click.echo()


def print_summary(summary: RunSummary) -> None:
    """Counts of tables and files, who ran what, and what went wrong."""
    if not summary.files_total and not summary.files_skipped:
        return  # that there is nothing has been said
    if summary.rows:
        print_table(("table", "new rows"), sorted(summary.rows.items()))
        click.echo()
    # Each source in one place, so that they add up.
    counts = {
        "computed": summary.files_ok,
        "already there": 0,
        "partial": summary.files_partial,
        "failed": summary.files_failed,
        "copies of others": summary.files_copies,
        "not reached": summary.files_not_reached,
    }
    counts["already there"] = summary.files_total - sum(counts.values())
    parts = [f"{number} {word}" for word, number in counts.items() if number]
    skipped = f"; {_files(summary.files_skipped)} skipped (no media)" if summary.files_skipped else ""
    click.echo(f"{_files(summary.files_total)}: {', '.join(parts) or 'nothing to do'}{skipped}")
    if summary.partial_kinds:
        click.echo(f"partial: {count_kinds(summary.partial_kinds)}")
    # Sound alone, or nothing at all, has no frames to speak of.
    frames = f"{summary.frames} frames in " if summary.frames else "took "
    click.echo(f"{frames}{duration(summary.elapsed_seconds)}")
    for role, provider in sorted(summary.providers.items()):
        click.echo(f"{role} ran on {provider}")
    for decoder, uris in sorted(summary.decoders.items()):
        click.echo(f"{_files(len(uris))} decoded by {printable(decoder)}")
    if not summary.exit_code and (bad := summary.files_failed + summary.files_partial):
        click.echo(f"{_files(bad)} failed or partial: tolerated")
    if summary.errors:
        click.echo()
        for error in summary.errors:  # in whole: a reason that is cut helps nobody
            what = "" if error["operation"] == _WHOLE_FILE else f"{error['operation']}: "
            text = f"{error['status']}: {from_here(error['uri'])}: {what}{as_flags(error['message'])}"
            click.echo(printable(text))
        click.echo()
    if summary.files_computed or summary.files_cached:
        click.echo(f"results in {from_here(summary.output)}")
        click.echo(f"look at them: framemill report {shlex.quote(from_here(printable(summary.output)))}")


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"
