"""Clocks that are set while a folder is held, an hour forth or back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from framemill.cluster.results.lease import Lease
from framemill.errors import LeaseError

HOUR = 3600.0


def beat_by_another_clock(folder: Path, ahead: float, silent_for: float) -> None:
    """Leaves what a holder's last beat leaves whose clock was ahead of ours, so long ago in truth."""
    lease = folder / "lease.json"
    at = time.time() + ahead - silent_for
    os.utime(lease, (at, at))
    token = json.loads(lease.read_text())["token"]
    note = [token, lease.stat().st_mtime_ns, time.monotonic() - silent_for]
    (folder / "lease.lock").write_text(json.dumps(note))


def elsewhere(folder: Path) -> None:
    """Makes the holder one of another machine."""
    lease = folder / "lease.json"
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "machine": "another"}))


def held(folder: Path) -> Lease:
    """A lease whose holder gives no more signs of life."""
    return Lease.acquire(folder, "held", wait_seconds=0, heartbeat_seconds=HOUR)


@pytest.mark.parametrize("ahead", [-HOUR, HOUR], ids=["set forth since", "set back since"])
def test_a_living_holder_keeps_its_lease_when_the_clock_is_set(tmp_path: Path, ahead: float) -> None:
    lease = held(tmp_path)
    beat_by_another_clock(tmp_path, ahead, silent_for=4)
    with pytest.raises(LeaseError, match="is held by run held"):
        Lease.acquire(tmp_path, "next", wait_seconds=0, stale_seconds=60)
    lease.check()
    lease.release()


@pytest.mark.parametrize("ahead", [-HOUR, HOUR], ids=["set forth since", "set back since"])
def test_a_silent_holder_loses_its_lease_when_the_clock_is_set(tmp_path: Path, ahead: float) -> None:
    lease = held(tmp_path)
    beat_by_another_clock(tmp_path, ahead, silent_for=61)
    Lease.acquire(tmp_path, "next", wait_seconds=0, stale_seconds=60).release()
    with pytest.raises(LeaseError, match="run held lost its lease"):
        lease.check()


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_who_waits_takes_over_what_stays_silent_though_its_beat_lies_in_the_future(
    tmp_path: Path, is_elsewhere: bool
) -> None:
    held(tmp_path)
    if is_elsewhere:
        elsewhere(tmp_path)
    ahead = time.time() + HOUR
    os.utime(tmp_path / "lease.json", (ahead, ahead))
    started = time.monotonic()
    Lease.acquire(tmp_path, "next", wait_seconds=30, stale_seconds=1).release()
    assert 1 <= time.monotonic() - started < 10


def test_a_holder_that_beats_keeps_who_waits_out_however_wrong_its_times_are(tmp_path: Path) -> None:
    lease = Lease.acquire(tmp_path, "held", wait_seconds=0, heartbeat_seconds=0.2)
    with pytest.raises(LeaseError, match=r"did not let go within 2 s"):
        Lease.acquire(tmp_path, "next", wait_seconds=2, stale_seconds=1)
    lease.release()
    assert os.listdir(tmp_path) == ["lease.lock"]
