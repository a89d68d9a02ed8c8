"""Damage by structure: parsed and written again a file is the same, and all damage does something."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cluster.extraction import render_clip
from tests.fuzz import boxes, elements, transport
from tests.fuzz.mutants import KINDS, damaged, make_mutant


@pytest.fixture(scope="module", params=[("MP4", ".mp4"), ("Matroska", ".mkv"), ("TS", ".ts")])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind, suffix = request.param
    return kind, render_clip(tmp_path_factory.mktemp("structures") / f"clip{suffix}", seed=1, seconds=1)


def test_parsed_and_written_again_a_file_is_the_same(clip: tuple[str, Path]) -> None:
    kind, path = clip
    content = path.read_bytes()
    if kind == "MP4":
        parsed = boxes.parse(content)
        assert {box.kind for box in parsed} >= {b"ftyp", b"moov", b"mdat"}
        assert b"".join(box.encoded() for box in parsed) == content
    elif kind == "Matroska":
        segment = elements.parse(content)[1]
        assert {e.kind for e in segment.children or []} >= {elements.INFO, elements.TRACKS, elements.CLUSTER}
        assert b"".join(element.encoded() for element in elements.parse(content)) == content
    else:
        packets = [bytearray(content[at : at + 188]) for at in range(0, len(content), 188)]
        found = [*transport._sections(packets, 0), *transport._sections(packets, 2)]
        assert len(found) >= 2
        for packet, at in found:  # with its checksum behind it a table divides without remainder
            end = at + 3 + (int.from_bytes(packet[at + 1 : at + 3], "big") & 0xFFF)
            assert transport.checksum(bytes(packet[at:end])) == 0


def test_every_kind_of_damage_changes_most_files_and_the_same_dice_do_it_again(
    clip: tuple[str, Path],
) -> None:
    kind, path = clip
    content = path.read_bytes()
    for name in KINDS[kind][0]:
        changed = [damaged(content, kind, [name], salt) for salt in range(8)]
        assert sum(one != content for one in changed) >= 4, name
        assert changed == [damaged(content, kind, [name], salt) for salt in range(8)], name


def test_damage_by_structure_takes_what_has_none(tmp_path: Path) -> None:
    dice = random.Random(1)
    for size in (0, 1, 7, 8, 9, 200, 400):
        path = tmp_path / f"{size}.bin"
        path.write_bytes(dice.randbytes(size) if size % 2 else bytes(size))
        for kind in KINDS:
            for number in range(30):
                make_mutant(3, number, [path], kind)
