"""`framemill report`: a page that shows a result folder."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, printable, size
from framemill.cluster.cli.output import report as say

DEFAULT = "report.html"


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "-o",
    "--to",
    default=DEFAULT,
    show_default=True,
    metavar="FILE",
    help="The page, .html; what is there is replaced.",
)
@conventions
@click.pass_obj
def report(invocation: Invocation, output: str, to: str) -> None:
    """Write a page that shows what is in OUT.

    Files, shots, words, people, what failed and what it cost. It is one file that needs no server and no
    network. Videos play from where they lie, as far as the browser plays them; shots show as stills
    everywhere. Shots can be ticked, and copied as CSV or EDL.

    \b
    framemill report OUT -o report.html
    """
    from framemill.cluster.without_pandas import without_pandas

    with without_pandas():
        from framemill.cluster.results.dataset import Dataset
        from framemill.cluster.view.report import write_report

        done = write_report(Dataset.open(output, create=False), to)
    if invocation.as_json:
        print_json(dataclasses.asdict(done))
        return
    click.echo(printable(done.path))
    if invocation.verbosity >= 0:
        shots = "shot" if done.num_shots == 1 else "shots"
        files = "file" if done.num_files == 1 else "files"
        say(f"{done.num_shots} {shots} of {done.num_files} {files}, {size(done.num_bytes)}")
        if done.folder:
            say(f"its pictures lie in {done.folder}: move both together")
        if done.num_left_out:
            say(f"{done.num_left_out} more files had no room: give them a result folder of their own")
        for path, problem in done.problems.items():
            say(f"no pictures of {path}: {problem}")
