"""What this machine, or the container around this process, grants."""

from __future__ import annotations

import math
import os

from cluster.doctor import cgroup_limits

# The worker may take this share of the memory; the rest is for the page cache and other programs.
MEMORY_SHARE = 0.7


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted, _ = cgroup_limits()
    return max(1, min(allowed, math.ceil(granted) if granted else allowed))


def worker_memory_bytes() -> int:
    """Memory that the worker may take before it is ended."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, granted = cgroup_limits()
    return int(MEMORY_SHARE * min(total, granted or total))
