"""A result folder: opening, holding, committing, recovering.

A commit takes three steps. The worker has written the parts hidden; here the commit file is written; then
the parts are published by rename and what they replace is unlinked. The commit file is the truth: `recover`
finishes what is committed and removes what is not. In an object store, which has no rename, parts have their
last name from the start, and there is nothing to publish.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from framemill.cluster.results import layout
from framemill.cluster.results.commits import Commit, DatasetState, Part, commit_from_json, commit_to_json
from framemill.cluster.results.folders import make_folder, read_constants
from framemill.cluster.results.lease import Lease, told_if_lost
from framemill.cluster.results.packed import Entries, Sources
from framemill.cluster.results.remote_lease import RemoteLease
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import (
    ResultPath,
    list_names,
    open_root,
    read_files,
    read_lines,
    unlink_all,
)
from framemill.errors import DatasetError, LeaseError, UsageError

DEFAULT_CONSTANTS: Mapping[str, float] = {"shard_seconds": 600.0}
CHECKPOINT_AFTER = 256  # commit files; keeps opening fast at a cost of about a millisecond a commit
# A checkpoint holds all: the more that is, the rarer it is written.
SOURCES_A_COMMIT = 1000
_LOAD_ATTEMPTS = 10  # a checkpoint may replace files while they are read
_LOG_FILE = re.compile(r"(\d{10})(\.checkpoint)?\.json")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` found.

    Attributes:
        published: committed parts that were still hidden.
        deleted: files that belong to no commit.
        lost: committed parts whose files are gone; their entries are forgotten, so that the next plan
            computes them again.
    """

    published: int
    deleted: int
    lost: tuple[Part, ...]


class Dataset:
    """One result folder, local or in an object store.

    Attributes:
        root: absolute path, or address.
        constants: fixed when the folder was made, such as shard_seconds.
        state: what the commits add up to, as of the last `reload` or `commit`.
    """

    def __init__(self, root: ResultPath, constants: Mapping[str, float]) -> None:
        self.root = root
        self.constants = dict(constants)
        self.state = DatasetState()
        self._loose = 0  # commit files since the last checkpoint
        self._lease: Lease | RemoteLease | None = None

    @classmethod
    def open(
        cls,
        root: str | os.PathLike[str] | RemotePath,
        *,
        create: bool,
        constants: Mapping[str, float] = DEFAULT_CONSTANTS,
    ) -> Dataset:
        """Opens a result folder, or makes one; reading needs no lease.

        Args:
            root: the folder, or an address such as s3://bucket/folder; relative ones count from the current
                folder.
            create: make it if it is not there. An existing folder may hold other things, but no folder
                named like a table.
            constants: written into a new folder; those of an existing one stay as they are.

        Raises:
            UsageError: a file is in the way, nothing is there, the folder is not ours, or it was written by a
                newer version.
            DatasetError: it cannot be read or written.
            SetupError: the object store does not answer, or lets us not in.
        """
        path = open_root(root)
        marker = layout.dataset_file(path)
        with layout.storage_errors(path, "looking for results in"):
            if not isinstance(path, RemotePath) and path.exists() and not path.is_dir():
                raise UsageError(f"the output {path} is a file: name a folder")
            is_there = marker.exists()
        if not is_there:
            if not create:
                raise UsageError(
                    f"{path} holds no results: make some with `framemill extract SOURCES -o {path}`"
                )
            make_folder(path, constants)
        dataset = cls(path, read_constants(marker))
        dataset.reload()
        return dataset

    def narrowed(self, tables: Iterable[str], sources: Collection[str]) -> Dataset:
        """The same folder, for reading, with what its state says of some tables of some sources alone."""
        narrow = Dataset(self.root, self.constants)
        narrow.state = self.state.narrowed(tables, sources)
        return narrow

    def reload(self) -> None:
        """Reads the commit log again."""
        with layout.storage_errors(layout.commits_folder(self.root), "reading"):
            self.state, self._loose = load_state(self.root)

    def _catch_up(self) -> None:
        """Reads the commit log again if there is anything new in it."""
        with layout.storage_errors(layout.commits_folder(self.root), "looking at"):
            is_new = not is_current(self.root, self.state)
        if is_new:
            self.state = DatasetState()  # two of a million files would take twice the memory
            self.reload()

    @contextmanager
    def hold(
        self, run_id: str, *, wait_seconds: float = 3600.0, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[Recovery]:
        """Makes this process the folder's only committer, and brings the folder in order first.

        The state may have changed while waiting: plan inside.

        Args:
            run_id: shown to other runs that wait.
            wait_seconds: how long to wait for another run.
            on_wait: called with a line such as "waits for run X on host Y pid Z".

        Raises:
            LeaseError: another run did not let go in time, or has taken over within.
            DatasetError: the folder cannot be read or written.
        """
        if self._lease is not None:
            raise DatasetError(f"{self.root} is held by this run already: hold it once")
        lease = _acquire(self.root, run_id, wait_seconds, on_wait)
        self._lease = lease
        try:
            with told_if_lost(lease.check):
                self._catch_up()
                if lease.needs_fence:
                    self._fence()
                yield self.recover()
        finally:
            self._lease = None
            lease.release()

    def plan_drop(self, table: str, owners: Collection[str]) -> list[tuple[Part, frozenset[str]]]:
        """Which parts hold rows of `owners`, each with those among them that it holds."""
        return self.state.plan_drop(table, owners)

    def commit(self, commit: Commit) -> Commit:
        """Makes a commit the next of the log, and publishes its parts.

        Args:
            commit: `parts` lie hidden already (`parts.write_part`); `removed_parts` are live. Its
                `sequence` is filled in here.

        Returns:
            The commit with its sequence.

        Raises:
            LeaseError: the lease is not held any more; nothing was committed.
            DatasetError: the storage refuses, or the commit does not fit the state. The folder stays valid:
                the commit happened wholly or not at all, and `recover` finishes it if it did.
        """
        self._held()
        commit = replace(commit, sequence=self.state.sequence + 1)
        with layout.storage_errors(self.root, "looking at parts in"):
            self._check(commit)
        if not self._log(commit):
            raise LeaseError(
                f"another run committed to {self.root} at the same time: run the same command again"
            )
        self.state.apply(commit)
        self._loose += 1
        with layout.storage_errors(self.root, "publishing parts in"):
            for part in commit.parts if not isinstance(self.root, RemotePath) else ():
                self._publish(part)
            unlink_all(self.root, [f"{table}/{name}" for table, name in commit.removed_parts])
        if self._loose >= max(CHECKPOINT_AFTER, len(self.state.sources) // SOURCES_A_COMMIT):
            self.checkpoint()
        return commit

    def checkpoint(self) -> None:
        """Replaces the commit files by one that holds the folded state. Changes no content."""
        lease = self._held()
        folder = layout.commits_folder(self.root)
        with layout.storage_errors(folder, "writing a checkpoint to"):
            path = layout.checkpoint_file(self.root, self.state.sequence)
            layout.write_lines(path, self._checkpoint_lines(lease.holder.run_id), lease.fenced)
            # The last commit file stays: a reader whose listing missed the checkpoint then sees a gap and
            # lists again, where an empty folder would have passed for an empty dataset.
            unlink_all(folder, [name for n, _, name in _list_log(folder) if n < self.state.sequence])
        self._loose = 0

    def _checkpoint_lines(self, run_id: str) -> Iterator[bytes]:
        """A million files fill half a gigabyte: a piece a line, so that nobody has to hold them at once."""
        return (commit_to_json(piece) + b"\n" for piece in self.state.pieces(run_id))

    def recover(self) -> Recovery:
        """Finishes what is committed, removes what is not. Only under the lease, with no writer at work.

        Raises:
            LeaseError: the lease is not held any more.
            DatasetError: the storage refuses.
        """
        lease = self._held()
        lease.check()
        # A commit of ours may have failed after it took effect: its parts are no leftovers.
        self._catch_up()
        published = deleted = 0
        with layout.storage_errors(self.root, "recovering"):
            found = set(layout.list_parts(self.root))
            for table, name, hidden in sorted(found):
                part = self.state.parts.get((table, name))
                if part is not None and hidden and (table, name, False) not in found:
                    self._publish(part)
                    published += 1
                elif part is None or hidden:
                    path = layout.hidden_path if hidden else layout.visible_path
                    path(self.root, table, name).unlink(missing_ok=True)
                    deleted += 1
            for folder in (layout.commits_folder(self.root), self.root / layout.SYSTEM_FOLDER):
                for name in list_names(folder) if not isinstance(folder, RemotePath) else ():
                    if name.endswith(".tmp") or name.startswith("check-"):  # of a killed driver on Ray
                        (folder / name).unlink(missing_ok=True)
                        deleted += 1
        lost = tuple(
            part for (table, name), part in self.state.parts.items()
            if (table, name, False) not in found and (table, name, True) not in found
        )  # fmt: skip
        if lost:
            self.commit(
                Commit(
                    run_id=lease.holder.run_id,
                    removed_parts=tuple((part.table, part.name) for part in lost),
                    removed_entries=tuple((part.table, owner) for part in lost for owner in part.owners),
                )
            )
        return Recovery(published, deleted, lost)

    def _held(self) -> Lease | RemoteLease:
        if self._lease is None:
            raise DatasetError(f"{self.root} is not held by this run: commit inside `with dataset.hold(...)`")
        return self._lease

    def _log(self, commit: Commit) -> bool:
        """Writes the commit file, the moment that counts; False where there is another of this number.

        Raises:
            LeaseError: the lease is not held any more.
        """
        path, fence = layout.commit_file(self.root, commit.sequence), self._held().fenced
        with layout.storage_errors(path, "committing to"):
            try:
                layout.write_file(path, commit_to_json(commit), replace=False, fence=fence)
            except FileExistsError:
                return False
        return True

    def _fence(self) -> None:
        """Takes the next place in the log, where the run that the lease was taken from may still commit."""
        fence = Commit(run_id=self._held().holder.run_id, sequence=self.state.sequence + 1)
        while not self._log(fence):
            self.reload()
            fence = replace(fence, sequence=self.state.sequence + 1)
        self.state.apply(fence)
        self._loose += 1

    def _check(self, commit: Commit) -> None:
        for part in commit.parts:
            hidden = layout.hidden_path(self.root, part.table, part.name)
            if isinstance(hidden, RemotePath):
                num_bytes = part.num_bytes  # an object is there whole once its writing has been confirmed
            else:
                num_bytes = hidden.stat().st_size if hidden.exists() else -1
            if num_bytes != part.num_bytes or (part.table, part.name) in self.state.parts:
                raise DatasetError(
                    f"part {part.table}/{part.name} cannot be committed: {part.num_bytes} bytes were "
                    f"announced and {num_bytes} are there (-1: no file), or it is committed already; "
                    "run the same command again"
                )
        for table, name in commit.removed_parts:
            if (table, name) not in self.state.parts:
                raise DatasetError(
                    f"part {table}/{name} is to be removed but not there: reload and plan again"
                )

    def _publish(self, part: Part) -> None:
        with suppress(FileNotFoundError):  # a run that took over from us has done it
            os.rename(
                str(layout.hidden_path(self.root, part.table, part.name)),
                str(layout.visible_path(self.root, part.table, part.name)),
            )


def _acquire(
    root: ResultPath, run_id: str, wait_seconds: float, on_wait: Callable[[str], None] | None
) -> Lease | RemoteLease:
    folder = root / layout.SYSTEM_FOLDER
    if isinstance(folder, RemotePath):
        return RemoteLease.acquire(folder, run_id, wait_seconds=wait_seconds, on_wait=on_wait)
    return Lease.acquire(folder, run_id, wait_seconds=wait_seconds, on_wait=on_wait)


def load_state(root: ResultPath) -> tuple[DatasetState, int]:
    """Folds the commit log of `root`; also answers how many commit files follow the last checkpoint.

    Raises:
        DatasetError: a commit is missing or damaged.
        OSError: the storage refuses.
    """
    folder = layout.commits_folder(root)
    for attempt in range(_LOAD_ATTEMPTS):
        log = _list_log(folder)
        start = max((sequence for sequence, is_checkpoint, _ in log if is_checkpoint), default=0)
        names = [name for sequence, is_checkpoint, name in log if sequence == start and is_checkpoint]
        later = [(sequence, name) for sequence, _, name in log if sequence > start]
        expected = range(start + 1, start + 1 + len(later))
        if [sequence for sequence, _ in later] == list(expected):
            state = DatasetState()
            try:
                for path in (folder / name for name in names):
                    for line in read_lines(path):
                        state.apply(commit_from_json(line, str(path)))
                _apply_files(state, [folder / name for _, name in later])
                return state, len(later)
            except FileNotFoundError:
                continue
        elif attempt == _LOAD_ATTEMPTS - 1:
            missing = sorted(set(expected) - {sequence for sequence, _ in later})
            raise DatasetError(
                f"commit {missing[0]} is missing from {folder}: "
                "restore it from a backup, or choose a new output folder"
            )
    raise DatasetError(f"{folder} changed {_LOAD_ATTEMPTS} times while it was read: try again")


def is_current(root: ResultPath, state: DatasetState) -> bool:
    """Whether nothing was committed to `root` since this was its state, which costs one listing."""
    return max((n for n, _, _ in _list_log(layout.commits_folder(root))), default=0) == state.sequence


def advance_state(root: ResultPath, state: DatasetState) -> DatasetState:
    """The state of `root` now: the given one where nothing was committed since, which costs one listing.

    Raises:
        DatasetError: a commit is missing or damaged.
        OSError: the storage refuses.
    """
    folder = layout.commits_folder(root)
    log = _list_log(folder)
    newest = max((sequence for sequence, _, _ in log), default=0)
    if newest == state.sequence:
        return state
    later = [name for sequence, is_checkpoint, name in log if sequence > state.sequence and not is_checkpoint]
    if newest < state.sequence or len(later) != newest - state.sequence:
        return load_state(root)[0]
    # Others read the old one meanwhile.
    new = DatasetState(
        state.sequence,
        Sources(state.sources),
        Entries(state.entries),
        dict(state.parts),
        dict(state.keys),
        dict(state.last_used),
    )
    try:
        _apply_files(new, [folder / name for name in later])
    except FileNotFoundError:  # a checkpoint came between
        return load_state(root)[0]
    return new


def _apply_files(state: DatasetState, paths: Sequence[ResultPath]) -> None:
    for path, data in zip(paths, read_files(paths), strict=True):
        state.apply(commit_from_json(data, str(path)))


def _list_log(folder: ResultPath) -> list[tuple[int, bool, str]]:
    """(sequence, whether a checkpoint, file name), by sequence."""
    matches = [match for name in list_names(folder) if (match := _LOG_FILE.fullmatch(name))]
    return sorted((int(match[1]), match[2] is not None, match[0]) for match in matches)
