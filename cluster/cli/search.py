"""`framemill search`: moments of a result folder, by words or by a picture."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli import completion
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
    type=click.Choice(["auto", "frames", "text", "words"]),
    default="auto",
    show_default=True,
    help="Look for what frames show, for what texts say and mean, or for the words alone.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ROLE=NAME",
    shell_complete=completion.of(completion.models_of_roles),
    help="A model, by its registry name or path.",
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

    The words of QUERY are found where they stand in transcript, subtitles, text on screen and captions,
    whatever their case and accents; in double quotes they stand side by side. What they mean is found too
    where there are vectors: image_embeddings (of a model with a text tower, such as clip_vit_b32),
    text_embeddings or transcript_embeddings. --image needs image_embeddings.

    \b
    framemill search OUT "lunar module"
    framemill search OUT '"one small step" man'
    framemill search OUT --image frame.jpg --top 5
    """
    if (query is None) == (image is None):
        raise click.UsageError("give either a QUERY in words or --image FILE")
    if not all(role and name for role, equals, name in (text.partition("=") for text in models)):
        raise click.UsageError("--model takes ROLE=NAME")
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.search import describe_search, search_image, search_text
    from framemill.cluster.results.dataset import Dataset

    dataset = Dataset.open(output, create=False)
    chosen = {role: name for role, _, name in (text.partition("=") for text in models)}
    on_note = report if invocation.verbosity >= 0 else None
    if image is not None:
        hits = search_image(dataset, image, top, chosen, on_note)
    else:
        hits = search_text(dataset, query or "", top, kind, chosen, on_note)
    records = [dataclasses.asdict(hit) for hit in hits]
    if invocation.as_json:
        print_json(records)
    elif records:
        shown = ["uri", "pts_seconds", "origin", "by", "score", "text"]
        if not any(record["text"] for record in records):
            shown.remove("text")
        print_records([{name: record[name] for name in shown} for record in records])
    elif invocation.verbosity >= 0:
        report(describe_search(dataset, "frames" if image is not None else kind))
