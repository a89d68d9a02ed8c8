"""The table of formats."""

from __future__ import annotations

import click
import pytest

from framemill.cluster.cli.export import export
from framemill.cluster.exports.catalogue import FORMATS, format_named
from framemill.errors import UsageError


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_function_that_writes_it(form: str) -> None:
    assert callable(FORMATS[form].load())


def test_the_command_offers_every_format() -> None:
    (option,) = [one for one in export.params if one.name == "form"]
    assert isinstance(option.type, click.Choice) and set(option.type.choices) == set(FORMATS)


def test_a_format_of_something_else_is_not_known() -> None:
    assert format_named("edl", "shots") is FORMATS["edl"]
    with pytest.raises(UsageError, match=r"unknown format 'edl'.*known of speech: srt, vtt"):
        format_named("edl", "speech")
