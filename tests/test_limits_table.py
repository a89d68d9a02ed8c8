"""The table of limits in docs/safety.md names what the code has, and files of settings are bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import limits
from docs.limits import GROUPS
from framemill.actors import limits as actors_limits
from framemill.cluster.config import read_settings
from framemill.cluster.results import answers
from framemill.errors import ModelError, UsageError
from framemill.models import onnx_batching, registry
from tests.test_packaging import REPOSITORY


@pytest.mark.parametrize("module", [actors_limits, answers], ids=["media", "statements"])
def test_every_limit_stands_in_the_table(module: object) -> None:
    text = (REPOSITORY / "docs" / "limits.py").read_text()
    names = {
        name for name, value in vars(module).items() if name.isupper() and isinstance(value, int | float)
    }
    # That a statement needs some memory is said where it has less; what DuckDB holds follows from its share.
    names -= {"TYPE_CHECKING", "LEAST_SQL_BYTES", "ENGINE_MEMORY_SHARE"}
    assert len(names) > 3 and {name for name in names if f".{name}" not in text} == set()
    assert pytest.approx(5 * answers.SQL_MEMORY_SHARE) == 7 * answers.ENGINE_MEMORY_SHARE


def test_every_limit_says_how_much_and_what_more_gives() -> None:
    rows = [limit for make in GROUPS.values() for limit in make()]
    assert len({limit.of for limit in rows}) == len(rows)
    for limit in rows:
        assert limit.value and limit.crossing and len(limit.of.split()) < 20
    assert len(limits().splitlines()) == len(rows) + 2


@pytest.mark.parametrize("content", ["a = '" + "x" * registry.MOST_TOML_BYTES + "'", "a = " + "[" * 100_000])
def test_a_file_of_settings_or_of_a_model_is_read_up_to_a_limit(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"more than the 4194304 bytes|too deeply"):
        registry.read_entry(path)
    with pytest.raises(UsageError, match=r"more than the 4194304 bytes|too deeply"):
        read_settings({}, {}, path)


def test_a_file_that_is_larger_than_its_format_can_hold_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # a hole
    with pytest.raises(ModelError, match="3221225472 bytes, and an ONNX file at most 2147483647"):
        onnx_batching.load_graph(path)
