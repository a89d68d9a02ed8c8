"""`framemill search`: moments of a result folder, by words or by a picture."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, report


@click.command()
@click.argument("output", metavar="OUT")
@click.argument("query", required=False)
@click.option("--image", metavar="FILE", help="Look for frames like this picture (JPEG, PNG, WebP, BMP).")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", default=10, show_default=True, help="Moments to show."
)
@click.option(
    "--in",
    "kind",
    type=click.Choice(["auto", "frames", "text"]),
    default="auto",
    show_default=True,
    help="Where to look for the words: in what frames show, or in what is written and said.",
)
@click.option(
    "--model", "models", multiple=True, metavar="ROLE=NAME", help="A model, by its registry name or path."
)
@conventions
@click.pass_obj
def search(
    invocation: Invocation,
    output: str,
    query: str | None,
    image: str | None,
    top: int,
    kind: str,
    models: tuple[str, ...],
) -> None:
    """Find moments by words or by a picture.

    QUERY says what is seen, written or said. Needs image_embeddings (for words, of a model with a text
    tower, such as clip_vit_b32), text_embeddings or transcript_embeddings.

    \b
    framemill search OUT "a dog on a beach"
    framemill search OUT --image frame.jpg --top 5
    """
    if (query is None) == (image is None):
        raise click.UsageError("give either a QUERY in words or --image FILE")
    if not all(role and name for role, equals, name in (text.partition("=") for text in models)):
        raise click.UsageError("--model takes ROLE=NAME")
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.search import search_image, search_text
    from framemill.cluster.results.dataset import Dataset

    dataset = Dataset.open(output, create=False)
    chosen = {role: name for role, _, name in (text.partition("=") for text in models)}
    if image is not None:
        hits = search_image(dataset, image, top, chosen)
    else:
        hits = search_text(dataset, query or "", top, kind, chosen)
    records = [dataclasses.asdict(hit) for hit in hits]
    if invocation.as_json:
        print_json(records)
    elif records:
        if not any(record["text"] for record in records):
            records = [{name: value for name, value in r.items() if name != "text"} for r in records]
        print_records(records)
    elif invocation.verbosity >= 0:
        report("nothing found: the table has no rows")
