"""`framemill view`: a result folder, live, in this machine's browser."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json
from framemill.cluster.cli.output import report as say


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port on 127.0.0.1 [default: one that is free].",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@conventions
@click.pass_obj
def view(invocation: Invocation, output: str, port: int, opens: bool) -> None:
    """Show what is in OUT in the browser, as it is now.

    Shots with facets, words and conditions in SQL, videos with boxes over them, files with timelines, people
    to name, tags, duplicates, SQL, errors and runs, for this machine alone: the address that is printed holds
    a token. What a run at work adds to OUT comes in by itself. Ctrl-C ends it.

    \b
    framemill view OUT --open
    """
    from framemill.cluster.without_pandas import without_pandas

    with without_pandas():
        from framemill.cluster.results.dataset import Dataset
        from framemill.cluster.view.server import open_viewer

        viewer = open_viewer(Dataset.open(output, create=False), port)
        if invocation.as_json:
            print_json({"url": viewer.url})
        else:
            click.echo(viewer.url)
        if invocation.verbosity >= 0:
            say("for a browser on this machine; Ctrl-C ends it")
        if opens:
            import webbrowser

            if not webbrowser.open(viewer.url):
                say("no browser was found: open the address yourself")
        viewer.serve()
