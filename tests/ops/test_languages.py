"""Codes of languages."""

from __future__ import annotations

import pytest

from framemill.ops.languages import short_code


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("eng", "en"), ("ger", "de"), ("deu", "de"), ("DE", "de"), ("pt_br", "pt-BR"), ("por-BR", "pt-BR"),
        ("zho-hans-cn", "zh-Hans-CN"), ("chi", "zh"), ("fil", "fil"), ("yue", "yue"), ("jw", "jv"),
        ("es-419", "es-419"),
        ("und", "und"), ("", "und"), ("x", "und"), ("../x", "und"), ("en/..", "und"),
        ("english", "und"), ("en-", "und"),
    ],
)  # fmt: skip
def test_a_tag_becomes_the_shortest_code_or_undetermined(tag: str, code: str) -> None:
    assert short_code(tag) == code
