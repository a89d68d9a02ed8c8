"""Holding a folder in an object store: one at a time, whoever dies, hangs or comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from unittest import mock

import pytest

from framemill.cluster.results import lease as local_lease
from framemill.cluster.results import remote_lease
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.remote_lease import RemoteLease
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import open_root
from framemill.errors import LeaseError
from tests.cluster.results.dataset_models import assert_holds, put
from tests.object_stores import Bucket


@pytest.fixture
def folder(bucket: Bucket) -> RemotePath:
    """A system folder."""
    root = open_root(bucket.uri("out/_framemill"))
    assert isinstance(root, RemotePath)
    return root


def take(folder: RemotePath, run_id: str = "r", **how: float) -> RemoteLease:
    return RemoteLease.acquire(folder, run_id, **{"wait_seconds": 0.0, **how})


@contextmanager
def elsewhere() -> Iterator[None]:
    """Leases that are taken within seem to be those of another machine."""

    def far(run_id: str) -> local_lease.Holder:
        return replace(here(run_id), machine="another", host="far")

    here = local_lease.this_process
    with mock.patch.object(remote_lease, "this_process", far):
        yield


def test_one_at_a_time_and_the_next_after_it(folder: RemotePath) -> None:
    first = take(folder, "first")
    said: list[str] = []
    with pytest.raises(LeaseError, match=r"held by run first on host .* did not let go within 0.3 s"):
        RemoteLease.acquire(folder, "second", wait_seconds=0.3, on_wait=said.append)
    assert len(said) == 1 and said[0].startswith("waits for run first on host")
    first.check()
    first.release()
    second = take(folder, "second")
    assert not second.needs_fence
    second.release()
    assert len(list((folder / "lease").iterdir())) == 1  # what is past is removed


def test_of_many_that_want_it_one_has_it_at_any_time(folder: RemotePath) -> None:
    inside, most, turns = [0], [0], [0]

    def work(number: int) -> None:
        for _ in range(3):
            held = take(folder, f"r{number}", wait_seconds=60.0)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            turns[0] += 1
            inside[0] -= 1
            held.release()

    with mock.patch.object(remote_lease, "_POLL_SECONDS", 0.01):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert (turns[0], most[0]) == (15, 1)


def test_a_process_that_died_here_is_noticed_at_once(folder: RemotePath) -> None:
    dead = replace(local_lease.this_process("dead"), pid_started="long ago")
    document = {"holder": asdict(dead), "beats": 3, "is_released": False}
    (folder / "lease" / "0000000007.json").write_bytes(json.dumps(document).encode())
    lease = take(folder)
    assert lease.needs_fence
    lease.release()


@pytest.mark.parametrize("content", [b"\0", b"{", b"[]", b'{"holder": {"pid": 1}}'])
def test_a_lease_that_cannot_be_read_counts_as_held_until_it_is_old(
    folder: RemotePath, content: bytes
) -> None:
    (folder / "lease" / "0000000001.json").write_bytes(content)
    with pytest.raises(LeaseError, match="held by run unknown"):
        take(folder, wait_seconds=0.2)
    take(folder, wait_seconds=10.0, stale_seconds=0.5).release()


def test_a_silent_holder_elsewhere_is_replaced_and_a_living_one_is_not(folder: RemotePath) -> None:
    with elsewhere():
        living = take(folder, "living", heartbeat_seconds=0.1)
    with pytest.raises(LeaseError), mock.patch.object(remote_lease, "_POLL_SECONDS", 0.1):
        take(folder, "next", wait_seconds=3.0, stale_seconds=1.5)
    living.release()
    with elsewhere():
        silent = take(folder, "silent", heartbeat_seconds=1000.0)
    began = time.monotonic()
    after = take(folder, "next", wait_seconds=30.0, stale_seconds=0.5)
    assert 0.5 <= time.monotonic() - began < 10
    assert after.needs_fence
    with pytest.raises(LeaseError, match="run silent lost its lease"):
        silent.check()
    silent.release()
    after.check()  # who lost it cannot give it away
    after.release()


def test_one_that_fell_silent_long_ago_is_not_waited_for(folder: RemotePath) -> None:
    with elsewhere():
        take(folder, "gone", heartbeat_seconds=1000.0)
    with pytest.raises(LeaseError):
        take(folder)
    with mock.patch.object(remote_lease, "CLOCK_SECONDS", -1000.0):
        take(folder).release()


@pytest.mark.parametrize("checks_first", [True, False])
def test_who_comes_back_after_a_takeover_commits_nothing(bucket: Bucket, checks_first: bool) -> None:
    former, later = (Dataset.open(bucket.uri("out"), create=True) for _ in range(2))
    with ExitStack() as stack:
        with elsewhere():
            stack.enter_context(former.hold("former"))
        put(former, "former", "scenes", {"a": 1})
        with mock.patch.object(remote_lease, "CLOCK_SECONDS", -1000.0), later.hold("later"):
            # Suspended between its look at the lease and its commit, the former holder comes too late too.
            if not checks_first:
                stack.enter_context(mock.patch.object(RemoteLease, "_require"))
            with pytest.raises(LeaseError):
                put(former, "former", "scenes", {"b": 2})
    with later.hold("later"):  # sweeps up what the former one wrote
        put(later, "later", "scenes", {"c": 3})
        assert_holds(later, {"scenes": {"a": 1, "c": 3}})


def test_a_takeover_yields_to_a_commit_that_was_just_under_way(bucket: Bucket) -> None:
    former, later = (Dataset.open(bucket.uri("out"), create=True) for _ in range(2))
    real = later._log
    committed = []

    def log(commit: object) -> bool:
        if not committed:
            committed.append(1)
            with mock.patch.object(RemoteLease, "_require"):
                put(former, "former", "scenes", {"a": 1})
        return real(commit)  # type: ignore[arg-type]

    with ExitStack() as stack:
        with elsewhere():
            stack.enter_context(former.hold("former"))
        with (
            mock.patch.object(remote_lease, "CLOCK_SECONDS", -1000.0),
            mock.patch.object(later, "_log", log),
            later.hold("later"),
        ):
            put(later, "later", "speech", {"b": 2})
            assert_holds(later, {"scenes": {"a": 1}, "speech": {"b": 2}})
