"""What the system tells of running processes. Linux."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(root: int) -> set[int]:
    """A process that runs and all that it started, directly or not; without those that ended."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry)] = int(parent)
    found = {root} & set(parents)
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def proportional_bytes(process: int) -> int:
    """Memory of a process, pages that others have too counted by share; 0 where it cannot be told."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
