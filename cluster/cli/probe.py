"""`framemill probe`: what is in the files, without decoding them."""

from __future__ import annotations

import click

from framemill.cluster.choices import Sandbox
from framemill.cluster.cli.output import (
    Invocation,
    Record,
    conventions,
    duration,
    print_json,
    print_table,
    report,
    sandbox_option,
    size,
)


@click.command()
@click.argument("sources", nargs=-1, required=True)
@sandbox_option
@conventions
@click.pass_obj
def probe(invocation: Invocation, sources: tuple[str, ...], sandbox: Sandbox) -> None:
    """Show streams and length of SOURCES, decoding nothing.

    --wide, --line and --json show all that is known."""
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.inspection import probe_sources

    records = probe_sources(sources, sandbox, report)
    if invocation.as_json:
        print_json(records)
    elif invocation.layout:
        print_records(records)
    else:
        columns = ("file", "length", "picture", "fps", "sound", "size", "note")
        print_table(columns, [_in_short(record) for record in records])


def _in_short(record: Record) -> tuple[object, ...]:
    """The seven columns that most people look for."""
    known = {name: value for name, value in record.items() if value is not None}
    picture = sound = length = num_bytes = ""
    if "video_codec" in known:
        picture = f"{known['width']}x{known['height']} {known['video_codec']}"
    if "audio_codec" in known:
        rate = f" {known['sample_rate'] / 1000:g} kHz" if "sample_rate" in known else ""
        sound = known["audio_codec"] + rate
    if "duration_seconds" in known:
        length, num_bytes = duration(known["duration_seconds"]), size(known["num_bytes"])
    notes = [
        known.get("message") or known.get("status", "ok").removesuffix("ok"),
        f"turned {known['rotation_degrees']:g}°" if known.get("rotation_degrees") else "",
        "mirrored" if known.get("is_mirrored") else "",
        "variable rate" if known.get("is_variable_rate") else "",
    ]
    rate = round(known["fps"], 3) if "fps" in known else ""
    return known["uri"], length, picture, rate, sound, num_bytes, ", ".join(filter(None, notes))
