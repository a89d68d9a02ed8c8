"""`framemill tag`: what a person says of shots, to be asked for later."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report


@click.command()
@click.argument("output", metavar="OUT")
@click.argument("tag", metavar="[TAG]", required=False)
@click.option(
    "--where", metavar="SQL", help="The shots for which this is true, as in framemill shots; 'true' for all."
)
@click.option("--remove", is_flag=True, help="Take the tag from them.")
@conventions
@click.pass_obj
def tag(invocation: Invocation, output: str, tag: str | None, where: str | None, remove: bool) -> None:
    """Tag shots, or list the tags that there are.

    Tags are a column of the view shots, so that exports can ask for them. They stay when scenes are extracted
    anew.

    \b
    framemill tag OUT keep --where "num_faces = 1 AND sharpness > 100"
    framemill export OUT --format edl --where "list_contains(tags, 'keep')" -o cut
    """
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.shots import find_shots
    from framemill.cluster.corpus.tags import clean_label, count_tags, tag_shots

    if tag is None:
        if where is not None or remove:
            raise click.UsageError("name the tag: framemill tag OUT TAG --where SQL")
        records = [{"tag": each, "shots": count} for each, count in count_tags(output)]
        if invocation.as_json:
            print_json(records)
        elif records:
            print_records(records)
        elif invocation.verbosity >= 0:
            report("no shot has a tag")
        return
    if where is None:
        raise click.UsageError("say which shots: --where SQL, or --where true for all")
    cleaned = clean_label(tag)
    with held(invocation, output) as (dataset, run_id):
        found = find_shots(dataset.root, where, columns=("source_id", "scene_index"))
        shots = [(str(source), int(index)) for source, index in found.rows]
        changed = tag_shots(dataset, run_id, cleaned, shots, on=not remove)
    if invocation.as_json:
        print_json({"tag": cleaned, "on": not remove, "shots": len(shots), "changed": changed})
    elif invocation.verbosity >= 0:
        what = "removed from" if remove else "added to"
        report(f"{len(shots)} {'shot' if len(shots) == 1 else 'shots'} found; {cleaned} {what} {changed}")
