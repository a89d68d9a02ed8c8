"""Running processes and their memory, from psutil."""

from __future__ import annotations

import psutil


def descendants(root: int) -> set[int]:
    """A process that runs and all that it started, directly or not; without those that ended."""
    found = set()
    try:
        top = psutil.Process(root)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in family:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile
    return found


def command_line(process: int) -> list[str]:
    """The words that a process was started with; none once it has ended."""
    try:
        return psutil.Process(process).cmdline()
    except psutil.Error:
        return []


def proportional_bytes(process: int) -> int:
    """Memory of a process, pages that others have too counted by share; 0 where it is unknown. Linux."""
    try:
        return int(psutil.Process(process).memory_full_info().pss)
    except psutil.Error:
        return 0
