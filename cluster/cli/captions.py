"""`framemill captions`: what a vision-language model says of each shot, clip and file of a result folder."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report
from framemill.cluster.cli.progress import counting
from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.corpus.captions import Tally

KEY_VARIABLE = "FRAMEMILL_CAPTIONS_KEY"


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--address",
    required=True,
    metavar="URL",
    help="Of an OpenAI-compatible server, such as http://localhost:8000/v1.",
)
@click.option("--model", required=True, metavar="NAME", help="The model's name at that server.")
@click.option(
    "--of",
    type=click.Choice(["shots", "clips"]),
    default="shots",
    show_default=True,
    help="What gets captions.",
)
@click.option("--where", metavar="SQL", help="Only shots for which this is true, as in framemill shots.")
@click.option("--prompt", metavar="FILE", help="What the model is asked about a shot, instead of ours.")
@click.option("--summary-prompt", metavar="FILE", help="What it is asked about a file, instead of ours.")
@click.option("--no-summaries", is_flag=True, help="Captions alone.")
@click.option(
    "--frames", type=int, metavar="N", help="Most pictures of a shot that the model is shown [default: 3]."
)
@click.option("--concurrency", type=int, metavar="N", help="Questions at a time [default: 8].")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For one answer [default: 120].",
)
@click.option(
    "--attempts", type=click.IntRange(min=1), metavar="N", help="Most requests for one answer [default: 4]."
)
@click.option(
    "--price-in", type=click.FloatRange(min=0), metavar="X", help="What a million tokens of questions cost."
)
@click.option(
    "--price-out", type=click.FloatRange(min=0), metavar="X", help="What a million tokens of answers cost."
)
@click.option(
    "--key-from",
    metavar="VARIABLE",
    default=KEY_VARIABLE,
    show_default=True,
    help="Variable of the environment that holds the server's key.",
)
@conventions
@click.pass_obj
def captions(
    invocation: Invocation,
    output: str,
    address: str,
    model: str,
    of: str,
    where: str | None,
    prompt: str | None,
    summary_prompt: str | None,
    no_summaries: bool,
    frames: int | None,
    concurrency: int | None,
    timeout: float | None,
    attempts: int | None,
    price_in: float | None,
    price_out: float | None,
    key_from: str,
) -> int:
    """Have a vision-language model describe shots, clips and files.

    Sends sampled frames and what the tables know of a shot to the server at the address, and to nobody else;
    writes the tables captions and summaries. Needs the operation scenes, and frames for good pictures. What
    has an answer is not asked again; what failed is, by the same command.

    \b
    framemill captions OUT --address http://localhost:11434/v1 --model qwen2.5vl
    framemill search OUT "red car"
    """
    from framemill.cluster.corpus import caption_prompts, caption_server
    from framemill.cluster.corpus.asking import Prices
    from framemill.cluster.corpus.captions import CONCURRENCY, NUM_FRAMES, CaptionsRequest, make_captions
    from framemill.cluster.corpus.summaries import make_summaries
    from framemill.cluster.editing.source_pictures import SourcePictures

    request = CaptionsRequest(
        prompt=caption_prompts.read_prompt(
            prompt, caption_prompts.CAPTION_PROMPT, caption_prompts.CAPTION_FIELDS
        ),
        of=of,
        where=where or "",
        num_frames=NUM_FRAMES if frames is None else frames,
        concurrency=CONCURRENCY if concurrency is None else concurrency,
        prices=Prices(price_in, price_out),
    )
    summary = caption_prompts.read_prompt(
        summary_prompt, caption_prompts.SUMMARY_PROMPT, caption_prompts.SUMMARY_FIELDS
    )
    where_to = caption_server.Address.parse(address)
    if where_to.warning:
        report(where_to.warning)
    server = caption_server.CaptionServer(
        where_to,
        model,
        _key(key_from),
        caption_server.TIMEOUT_SECONDS if timeout is None else timeout,
        caption_server.ATTEMPTS if attempts is None else attempts,
    )
    tallies: dict[str, Tally] = {}
    with held(invocation, output) as (dataset, run_id), server:
        pictures = SourcePictures(dataset)
        with counting("captions", of, invocation.verbosity) as progress:
            tallies["captions"] = make_captions(dataset, run_id, request, server, pictures.fetch, progress)
        if not no_summaries and not tallies["captions"].problem:
            with counting("summaries", "files", invocation.verbosity) as progress:
                tallies["summaries"] = make_summaries(
                    dataset, run_id, summary, server, request.concurrency, request.prices, progress
                )
    if invocation.as_json:
        print_json(
            {**{name: dataclasses.asdict(t) for name, t in tallies.items()}, "problems": pictures.problems}
        )
    elif invocation.verbosity >= 0:
        for name, tally in tallies.items():
            _tell(name, tally)
    for uri, problem in pictures.problems.items():
        report(f"{uri}: {problem}")
    return 3 if any(tally.errors for tally in tallies.values()) else 0


def _key(variable: str) -> str:
    """The server's key. It is shown nowhere."""
    key = os.environ.get(variable, "")
    if not key and variable != KEY_VARIABLE:
        raise UsageError(f"the variable {variable} is not set, in which the server's key should be")
    if any(not "!" <= char <= "~" for char in key):
        raise UsageError(f"the key in {variable} holds blanks or other characters that no key has")
    return key


def _tell(name: str, tally: Tally) -> None:
    spent = f"{tally.tokens_in} tokens in, {tally.tokens_out} out"
    cost = f", cost {tally.cost:.4g}" if tally.cost else ""
    kept = f"; {tally.num_kept} were there" if tally.num_kept else ""
    report(f"{tally.num_ok} {name} of {tally.num_wanted}{kept}; {spent}{cost}")
    if tally.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in tally.errors.most_common())
        report(f"{tally.errors.total()} failed: {kinds}, such as: {tally.example}")
        report("the same command asks for these again")
    if tally.problem:
        report(f"the rest was not asked: {tally.problem}")
