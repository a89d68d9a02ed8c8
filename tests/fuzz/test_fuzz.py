"""Mutants are the same for the same seed, and the oracle decodes all there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.extraction import FPS, render_clip
from tests.fuzz.mutants import DAMAGES, make_mutant, originals
from tests.fuzz.oracle import decode_all


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_clip(tmp_path_factory.mktemp("fuzz") / "clip.mkv", seed=1)


def test_a_seed_gives_the_same_mutants_again(clip: Path) -> None:
    mutants = [make_mutant(7, number, [clip]) for number in range(60)]
    assert mutants == [make_mutant(7, number, [clip]) for number in range(60)]
    assert mutants != [make_mutant(8, number, [clip]) for number in range(60)]
    assert {name for mutant in mutants for name in mutant.damage} == set(DAMAGES)
    changed = [mutant for mutant in mutants if mutant.content != clip.read_bytes()]
    assert len(changed) > 50


def test_damage_takes_files_of_any_size(tmp_path: Path) -> None:
    for size in range(6):
        small = tmp_path / f"{size}.mp4"
        small.write_bytes(bytes(size))
        made = [make_mutant(1, number, [small]).content for number in range(80)]
        assert len(set(made)) > 1


def test_originals_are_small_files_of_every_kind(media_dir: Path) -> None:
    chosen = originals(media_dir)
    assert len(set(chosen)) == 30 and len({path.suffix for path in chosen}) >= 6


def test_the_oracle_decodes_all_there_is(clip: Path, tmp_path: Path) -> None:
    found = decode_all(str(clip))
    assert found["frames"] == 4 * FPS and found["seconds"] == pytest.approx(4, abs=0.1)
    assert 0 < found["loud"] <= found["seconds"]
    half = tmp_path / "half.mkv"
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert 0 < decode_all(str(half))["frames"] < 4 * FPS
    half.write_bytes(b"no media")
    assert decode_all(str(half))["frames"] == 0
