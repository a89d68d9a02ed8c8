"""`framemill people`: the faces of a result folder gathered into people."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--threshold",
    type=float,
    metavar="X",
    help="Least average similarity of the faces of one person, -1 to 1; higher gives more people "
    "[default: what the model states, or 0.5].",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="People to show."
)
@click.option(
    "--name",
    "named",
    metavar="ID=NAME",
    multiple=True,
    help="Name a person, once or more; ID= takes the name away.",
)
@conventions
@click.pass_obj
def people(
    invocation: Invocation, output: str, threshold: float | None, limit: int, named: tuple[str, ...]
) -> None:
    """Find out which faces are of the same person, across all files.

    Needs the operation face_embeddings; writes the table people. People keep their ids when files are added,
    and their names, which hang on faces.

    \b
    framemill sql OUT "SELECT person_id, count(*) FROM people GROUP BY 1"
    framemill people OUT --name 1f2e3d4c5b6a=Anna
    framemill shots OUT --where "list_contains(names, 'Anna')"
    """
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.names import name_person
    from framemill.cluster.corpus.people import SOURCE_TABLE, find_people
    from framemill.cluster.results.corpus_tables import outdated_note

    given = [text.partition("=") for text in named]
    if wrong := next((person for person, sign, _ in given if not sign), None):
        raise click.UsageError(f"--name {wrong} names nobody: say ID=NAME, or ID= to take a name away")
    with held(invocation, output) as (dataset, run_id):
        for person, _, name in given:
            name_person(dataset, run_id, person, name)
        found = find_people(dataset, run_id, threshold)
    if invocation.as_json:
        print_json(dataclasses.asdict(found))
        return
    if found.people:
        print_records([dataclasses.asdict(person) for person in found.people[:limit]])
    if invocation.verbosity >= 0 and (note := outdated_note(dataset.state, SOURCE_TABLE)):
        report(note)
    if invocation.verbosity >= 0:
        more = f"; {limit} shown" if len(found.people) > limit else ""
        state = "" if found.changed else " (up to date)"
        report(
            f"{len(found.people)} people in {found.num_faces} faces{state}{more}; "
            f"{found.num_left_out} faces without five points left out"
        )
