"""One committer at a time, whatever dies, hangs or races."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from framemill.cluster.results.commits import Commit, Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.lease import Lease, read_holder, told_if_lost
from framemill.cluster.results.packed import Entry
from framemill.errors import DatasetError, LeaseError
from tests.cluster.results.dataset_models import assert_holds, put

HOLD = """
import sys, time
from pathlib import Path
from framemill.cluster.results.lease import Lease
lease = Lease.acquire(Path(sys.argv[1]), "other", wait_seconds=0)
print("held", flush=True)
time.sleep(60)
"""


def take(folder: Path, run_id: str, **settings: Any) -> Lease:
    """A lease that does not wait, unless told."""
    return Lease.acquire(folder, run_id, **{"wait_seconds": 0, **settings})


def change(folder: Path, **fields: Any) -> None:
    """Rewrites fields of the lease as another machine or time would have."""
    path = folder / "lease.json"
    stat = path.stat()
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def age(folder: Path, seconds: float) -> None:
    """Makes the last heartbeat so old."""
    then = time.time() - seconds
    os.utime(folder / "lease.json", (then, then))


def test_release_lets_the_next_in(tmp_path: Path) -> None:
    first = take(tmp_path, "a")
    assert read_holder(tmp_path) == first.holder
    first.release()
    assert read_holder(tmp_path) is None
    take(tmp_path, "b").release()
    assert os.listdir(tmp_path) == ["lease.lock"]


def test_a_living_holder_is_named_and_waited_for(tmp_path: Path) -> None:
    first = take(tmp_path, "a")
    told: list[str] = []
    started = time.monotonic()
    with pytest.raises(LeaseError, match=rf"held by run a on host .* pid {os.getpid()}.*within 0.5 s"):
        take(tmp_path, "b", wait_seconds=0.5, on_wait=told.append)
    assert 0.5 <= time.monotonic() - started < 3
    assert told == [f"waits for {first.holder}"]
    timer = threading.Timer(0.3, first.release)
    timer.start()
    take(tmp_path, "b", wait_seconds=20).release()
    timer.join()


def test_a_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LeaseError, match="run other"):
            take(tmp_path, "b")
    finally:
        process.kill()
    # Not reaped yet: a dead process that still has a number must not count as alive.
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    take(tmp_path, "b").release()
    process.wait()
    process.stdout.close()


def test_a_number_given_to_another_process_does_not_fool(tmp_path: Path) -> None:
    lease = take(tmp_path, "a", heartbeat_seconds=60)
    change(tmp_path, pid_started="1")
    take(tmp_path, "b").release()
    lease.release()


def test_a_holder_elsewhere_is_believed_until_it_is_silent(tmp_path: Path) -> None:
    lease = take(tmp_path, "a", heartbeat_seconds=60)
    change(tmp_path, machine="another", pid=2**22 + 1)
    age(tmp_path, 55)
    with pytest.raises(LeaseError):
        take(tmp_path, "b", stale_seconds=60)
    age(tmp_path, 65)
    take(tmp_path, "b", stale_seconds=60).release()
    lease.release()


def test_heartbeats_keep_it(tmp_path: Path) -> None:
    lease = take(tmp_path, "a", heartbeat_seconds=0.05)
    age(tmp_path, 1000)
    time.sleep(0.5)
    with pytest.raises(LeaseError):
        take(tmp_path, "b", stale_seconds=100)
    lease.release()


def test_an_unreadable_lease_ends_by_age(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text("")
    with pytest.raises(LeaseError, match="unknown"):
        take(tmp_path, "a", stale_seconds=60)
    age(tmp_path, 61)
    take(tmp_path, "a", stale_seconds=60).release()


def test_a_loser_neither_commits_nor_harms_the_winner(tmp_path: Path) -> None:
    loser, winner = Dataset.open(tmp_path, create=True), Dataset.open(tmp_path, create=True)
    folder = tmp_path / "_framemill"
    with loser.hold("slow"):
        put(loser, "slow", "scenes", {"a": 1})
        age(folder, 1000)
        with winner.hold("quick", wait_seconds=0):
            put(winner, "quick", "scenes", {"b": 2})
            with pytest.raises(LeaseError, match=r"run slow lost its lease .* to run quick"):
                put(loser, "slow", "scenes", {"c": 3})
            with pytest.raises(LeaseError):
                loser.recover()
            with pytest.raises(LeaseError):
                loser.checkpoint()
            holder = read_holder(folder)
            assert holder is not None and holder.run_id == "quick"
    with winner.hold("check"):
        assert_holds(winner, {"scenes": {"a": 1, "b": 2}})


def test_a_loser_whose_parts_were_cleared_says_what_it_lost(tmp_path: Path) -> None:
    loser, winner = Dataset.open(tmp_path, create=True), Dataset.open(tmp_path, create=True)
    gone = Part("scenes", "part-gone.parquet", 1, 1, ("a",))
    with pytest.raises(LeaseError, match=r"run slow lost its lease .* to nobody"), loser.hold("slow"):
        age(tmp_path / "_framemill", 1000)
        with winner.hold("quick", wait_seconds=0):
            pass
        loser.commit(Commit(run_id="slow", parts=(gone,)))


def test_storage_that_refuses_to_tell_of_the_lease_hides_no_error() -> None:
    def refuse() -> None:
        raise DatasetError("checking the lease of it: input/output error")

    with pytest.raises(DatasetError, match="the first"), told_if_lost(refuse):
        raise DatasetError("the first")


def test_one_sequence_is_given_out_once_even_without_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Dataset.open(tmp_path, create=True), Dataset.open(tmp_path, create=True)
    monkeypatch.setattr(Lease, "_check", lambda self: None)
    with first.hold("a"):
        age(tmp_path / "_framemill", 1000)
        with second.hold("b"):
            second.commit(Commit(run_id="b", entries=(Entry("scenes", "b", "k"),)))
            with pytest.raises(LeaseError, match="at the same time"):
                first.commit(Commit(run_id="a", entries=(Entry("scenes", "a", "k"),)))
    assert set(Dataset.open(tmp_path, create=False).state.entries) == {("scenes", "b")}


RACE = """
import sys, time
from pathlib import Path
from framemill.cluster.results.lease import Lease
folder, run_id = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
lease = Lease.acquire(folder, run_id, wait_seconds=30)
mark = folder / "inside"
mark.mkdir()  # fails if another is inside
time.sleep(0.02)
lease.check()
mark.rmdir()
lease.release()
print("done", flush=True)
"""


def test_waiters_take_a_stale_lease_one_by_one(tmp_path: Path) -> None:
    dead = take(tmp_path, "dead", heartbeat_seconds=60)
    change(tmp_path, pid_started="1")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), f"r{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(6)
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert [out for out, _ in answers] == ["done\n"] * 6, answers
    dead.release()
