"""What this machine, or the container around this process, grants."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

# The worker may take this share of the memory; the rest is for the page cache and other programs.
MEMORY_SHARE = 0.7


def import_root() -> Path:
    """The folder that `framemill` is imported from: the repository, that of a Ray job, or site-packages."""
    return Path(__file__).absolute().parents[2]  # not resolved: in the repository a link leads here


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted, _ = cgroup_limits()
    return max(1, min(allowed, math.ceil(granted) if granted else allowed))


def memory_bytes() -> int:
    """Memory that the machine has, or the container grants of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, granted = cgroup_limits()
    return min(total, granted or total)


def worker_memory_bytes() -> int:
    """Memory that the worker may take before it is ended."""
    return int(MEMORY_SHARE * memory_bytes())


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """NVIDIA GPUs that a process started here may use, as CUDA_VISIBLE_DEVICES names them.

    Found without a library of NVIDIA's, which would take a supervisor that needs none half a second.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    if not devices.is_dir():
        return []
    return [
        str(index)
        for index in range(sum(bool(re.fullmatch(r"nvidia\d+", p.name)) for p in devices.iterdir()))
    ]


def hide_gpus() -> None:
    """Keeps this process off the GPUs, before anything looks for them: they were given to others.

    Ray leaves them visible to actors that did not ask for any.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def take_gpus(gpus: float) -> None:
    """Settles which GPUs this process uses, and how much of their memory, before anything looks for them.

    Args:
        gpus: of those that were given to it: none, whole ones, or a part of one, whose memory others share.
            A share that `FRAMEMILL_GPU_MEMORY_SHARE` names already stays.
    """
    if not gpus:
        hide_gpus()
    elif gpus < 1:
        from framemill.models.memory_plan import VARIABLE

        os.environ.setdefault(VARIABLE, f"{gpus:g}")


def cgroup_limits(root: Path = Path("/sys/fs/cgroup")) -> tuple[float | None, int | None]:
    """(cores, memory in bytes) that a container grants, None where there is no limit; cgroup v2 and v1."""

    def read(name: str) -> list[str]:
        try:
            return (root / name).read_text().split()
        except OSError:
            return []

    cores: float | None = None
    if quota := read("cpu.max"):
        cores = None if quota[0] == "max" else int(quota[0]) / int(quota[1])
    elif (quota := read("cpu/cpu.cfs_quota_us")) and int(quota[0]) > 0:
        cores = int(quota[0]) / int(read("cpu/cpu.cfs_period_us")[0])
    limit = read("memory.max") or read("memory/memory.limit_in_bytes")
    # Version 1 writes "no limit" as the largest page-aligned number.
    memory = int(limit[0]) if limit and limit[0] != "max" and int(limit[0]) < 1 << 60 else None
    return cores, memory
