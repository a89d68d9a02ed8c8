"""`framemill probe`: what is in the files, without decoding them."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json
from framemill.cluster.cli.results import print_records


@click.command()
@click.argument("sources", nargs=-1, required=True)
@conventions
@click.pass_obj
def probe(invocation: Invocation, sources: tuple[str, ...]) -> None:
    """Show streams and length of SOURCES, decoding nothing."""
    from framemill.cluster.inspection import probe_sources

    records = probe_sources(sources)
    if invocation.as_json:
        print_json(records)
    else:
        print_records(records)
