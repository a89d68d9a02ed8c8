"""Which models `fast`, `balanced` and `best` stand for: the table is `quality.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from framemill.errors import UsageError


def models_of(quality: str) -> Mapping[str, str]:
    """Role -> name of the model that a quality takes, for the roles where that is not the default.

    It depends on nothing but the table, so that the same command makes the same rows on every machine.

    Raises:
        UsageError: there is no such quality.
    """
    table = _table()
    if quality not in table:
        raise UsageError(f"`quality={quality!r}`: choose {', '.join(table)}")
    return table[quality]


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(Path(__file__).with_name("quality.toml").read_text("utf-8"))
