"""Clips as data sets: WebDataset shards, and a folder that `datasets` of Hugging Face loads."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framemill.cluster.clips.target import Made, Target, writing
from framemill.cluster.exports.training_sets import SHARD_BYTES, TAR_BYTES
from framemill.cluster.results.layout import write_file
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import list_names
from framemill.errors import UsageError

Facts = Mapping[str, Any]


class Shards:
    """`000000.tar` and on, each of `SHARD_BYTES` at most where it holds more than one clip.

    A shard gets its name when it is whole; what is in it stands beside it before that. Shards of a run before
    stay as they are, and further clips go into further shards.

    Attributes:
        held: name -> the shard that holds a clip, and the clip.
    """

    def __init__(self, target: Target, shard_bytes: int = SHARD_BYTES) -> None:
        self._target, self._shard_bytes = target, shard_bytes
        self.held: dict[str, tuple[str, Made]] = {}
        there = sorted(name for name in list_names(target.root) if name.endswith(".tar"))
        for shard in there:
            for told in json.loads(self._contents(shard).read_bytes()):
                made = Made(**told)
                self.held[made.name] = (shard, made)
        self._next = int(there[-1].partition(".")[0]) + 1 if there else 0
        self._clips: list[Made] = []
        self._room = contextlib.ExitStack()
        self._part = self._room.enter_context(target.places.room()) / "shard.tar"
        self._tar: tarfile.TarFile | None = None

    def check(self, wanted: Mapping[str, str]) -> None:
        """Refuses a plan in which clips that shards hold are no longer, or are others.

        Args:
            wanted: name -> key of each clip of the plan.

        Raises:
            UsageError: there are such.
        """
        stale = [name for name, (_, made) in self.held.items() if wanted.get(name) != made.key]
        if stale:
            raise UsageError(
                f"the shards in {self._target.root} hold {len(stale)} clips that this plan does not, such as "
                f"{stale[0]}: shards are not changed, so name a new folder"
            )

    def add(self, made: Made, facts: Facts) -> None:
        """Puts a clip behind the others; it counts as held once its shard is whole."""
        path = self._target.places.clips / f"{made.name}.mp4"
        text = json.dumps(facts).encode()
        if (
            self._tar is not None
            and self._tar.offset + made.num_bytes + len(text) + TAR_BYTES > self._shard_bytes
        ):
            self.finish()
        if self._tar is None:
            self._tar = tarfile.open(self._part, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        with open(path, "rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes()) as file:
            for ending, content, size in (
                ("mp4", file, made.num_bytes),
                ("json", io.BytesIO(text), len(text)),
            ):
                member = tarfile.TarInfo(f"{made.name}.{ending}")
                member.size, member.mode = size, 0o644
                self._tar.addfile(member, content)
        self._clips.append(made)

    def finish(self) -> None:
        """Gives the shard that is being filled its name, and removes its clips from where they waited."""
        if self._tar is None:
            return
        self._tar.close()
        shard, self._tar = f"{self._next:06}.tar", None
        contents = json.dumps([asdict(made) for made in self._clips]).encode()
        write_file(self._contents(shard), contents, replace=True)
        place_file(self._part, self._target, shard)
        self.held |= {made.name: (shard, made) for made in self._clips}
        self._target.remove(made.name for made in self._clips)
        self._clips, self._next = [], self._next + 1

    def close(self) -> None:
        """Gives back the room of this machine in which shards were made."""
        self._room.close()

    def _contents(self, shard: str) -> Any:
        return self._target.hidden / f"{shard}.json"


def place_file(part: Path, target: Target, name: str) -> None:
    """Gives a file that is whole its name at the target."""
    if isinstance(target.root, RemotePath):
        with open(part, "rb") as file:
            (target.root / name).upload(file)
    else:
        part.replace(target.root / name)


def write_hf_metadata(target: Target, clips: Sequence[tuple[str, Facts]]) -> None:
    """`train/metadata.jsonl` and a README.md whose `configs` `load_dataset` follows.

    Args:
        clips: name and facts of each.
    """
    lines = [json.dumps({"file_name": f"{name}.mp4", **facts}) for name, facts in clips]
    with writing(target.root):
        write_file(target.places.clips / "metadata.jsonl", "\n".join([*lines, ""]).encode(), replace=True)
        write_file(target.root / "README.md", _CARD.encode(), replace=True)


_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
---

Clips of videos, cut by Framemill. Times are seconds since the start of each source.
"""
