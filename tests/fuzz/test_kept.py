"""Mutants that were kept run again: those of media through one run, those of models through `models add`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.fuzz import kept as keeping
from tests.fuzz import media, models
from tests.fuzz.mutants import KINDS, MODEL_KINDS, Mutant


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Mutant]]:
    made: dict[str, list[Mutant]] = defaultdict(list)
    for path in keeping.paths():
        mutant = keeping.make(path, tmp_path_factory.mktemp("seed"))
        if mutant is not None:
            made[mutant.kind].append(mutant)
    return made


@pytest.mark.slow
def test_the_media_that_were_kept_are_answered(kept: dict[str, list[Mutant]], tmp_path: Path) -> None:
    mutants = [mutant for kind in KINDS for mutant in kept[kind]]
    assert mutants and list(media.run_batch(mutants, tmp_path)) == []


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_models_that_were_kept_are_added_or_refused(kept: dict[str, list[Mutant]], kind: str) -> None:
    assert kept[kind] and list(models.run_batch(kind, kept[kind])) == []


def test_a_mutant_that_has_become_another_is_told(tmp_path: Path) -> None:
    path = next(path for path in keeping.paths() if "TOML" in path.read_text("utf-8"))
    mutant = keeping.make(path, tmp_path)
    assert mutant is not None
    changed = tmp_path / "changed.toml"
    described = keeping.described(mutant, "why")
    changed.write_text(described.replace(f"salt = {mutant.salt}", f"salt = {mutant.salt + 1}"))
    with pytest.raises(ValueError, match=r"changed.toml gives another mutant"):
        keeping.make(changed, tmp_path)
    changed.write_text(described)
    assert keeping.make(changed, tmp_path) is not None
