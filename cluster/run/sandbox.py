"""The sandbox of processes that open media: a decoder that a file takes over reaches as little as possible.

It has layers, and each is tried: no kernel is taken to have one, nor to lack it. A process enters once, when
it knows its run and has opened nothing yet, and cannot leave.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from collections.abc import Callable, Iterator, Mapping

from framemill.cluster.machine import visible_gpus
from framemill.cluster.run import sandbox_kernel as kernel
from framemill.cluster.run.messages import Sandbox, WorkerConfig
from framemill.errors import SetupError

# What each layer takes away.
LAYERS = {
    "privileges": "rights that a program it starts would gain",
    "calls": "other processes' memory, mounts, rings and kernel parts that no decoder uses",
    "network": "sockets",
    "reads": "files but sources, models, results and programs",
    "writes": "changing files but results, cache and temporary ones",
    "limits": "many open files, huge files, and address space far beyond the memory limit",
}
# Open files, and bytes of one file; rows and engines are smaller than the memory they are made in.
MOST_OPEN_FILES = 4096
MOST_FILE_BYTES = 16 << 30
# Address space is asked for and not used: by threads for stacks and arenas, by libraries for their pools.
_SPARE_BYTES, _SPARE_BYTES_A_THREAD = 8 << 30, 1 << 30

# What programs read of a system: libraries, time zones, certificates, names; what it tells of itself.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/proc", "/sys"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/mime.types", "/etc/machine-id"),
)
_OF_A_NETWORK = (
    *("/etc/hosts", "/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/ssl"),
    *("/etc/pki", "/etc/ca-certificates", "/etc/ca-certificates.conf", "~/.aws", "~/.config/gcloud"),
)
# Variables that name files or folders with certificates and credentials.
_NAMED_FOR_A_NETWORK = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "CLOUDSDK_CONFIG"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
)
# Of devices: their files, and what their libraries keep.
_OF_DEVICES = ("/dev/nv*", "/dev/dri", "/dev/dxg", "/dev/shm")
_NAMED_FOR_DEVICES = ("CUDA_CACHE_PATH", "CUPY_CACHE_DIR", "CUDA_MPS_PIPE_DIRECTORY")
_KEPT_FOR_DEVICES = ("~/.nv", "~/.cupy")

_entered: dict[str, str] | None = None


def enter(config: WorkerConfig) -> Mapping[str, str]:
    """Puts this process into the sandbox of its run; threads and processes that come later are in it, too.

    Returns:
        Layer -> why it does not hold, empty where it does; nothing where the sandbox is off.
    """
    sandbox = config.sandbox
    if sandbox.mode == "off":
        return {}
    has_gpu = bool(visible_gpus())
    threads = config.threads + config.in_flight
    memory = 0 if has_gpu else 2 * config.memory_bytes + _SPARE_BYTES + threads * _SPARE_BYTES_A_THREAD
    found = dict.fromkeys(LAYERS, "")
    found["privileges"] = _tried("no_new_privs", kernel.drop_privileges)
    found["limits"] = _tried("limits", lambda: _limit(max(MOST_FILE_BYTES, config.memory_bytes), memory))
    found["reads"] = found["writes"] = _tried("Landlock", lambda: _confine(config, has_gpu))
    network = "network" in sandbox.open
    found["calls"] = _tried("seccomp", lambda: kernel.filter_calls(network=network, local_sockets=has_gpu))
    found["network"] = found["calls"]
    return found | {layer: why for layer, why in sandbox.open.items() if not found[layer]}


def bare_config(sandbox: Sandbox, threads: int, memory_bytes: int) -> WorkerConfig:
    """What `enter` has to know of a process that works for no run."""
    return WorkerConfig(
        root="",
        run_id="",
        keys={},
        options={},
        after={},
        shard_seconds=1.0,
        models={},
        sampling="",
        threads=threads,
        memory_bytes=memory_bytes,
        sandbox=sandbox,
    )


def enter_shared(sandbox: Sandbox) -> Mapping[str, str]:
    """As much of it as a process takes that somebody else's threads run in, as Ray's do; once for good."""
    global _entered
    if sandbox.mode == "off" or _entered is not None:
        return _entered or {}
    _entered = {
        "privileges": _tried("no_new_privs", kernel.drop_privileges),
        "calls": _tried("seccomp", lambda: kernel.filter_calls(network=True)),
    }
    return _entered


def describe(found: Mapping[str, str]) -> str:
    """What `enter` found, in a line."""
    if not found:
        return "sandbox: off; what opens media may reach all that you may"
    missing = {layer: why for layer, why in found.items() if why}
    holding = ", ".join(layer for layer in found if layer not in missing) or "nothing"
    if not missing:
        return f"sandbox: {holding}"
    reasons: dict[str, list[str]] = {}
    for layer, why in missing.items():
        reasons.setdefault(why, []).append(layer)
    left = "; ".join(f"not {', '.join(layers)}: {why}" for why, layers in reasons.items())
    return f"sandbox: {holding}; {left}"


def require_whole(mode: str, found: Mapping[str, str]) -> None:
    """Refuses a sandbox that lacks a layer where it is to be strict.

    Raises:
        SetupError: it does.
    """
    if mode == "strict" and any(found.values()):
        raise SetupError(
            f"{describe(found)}. `sandbox='strict'` runs with all layers or not at all: see docs/safety.md, "
            "or give `sandbox='auto'` to run with those that there are"
        )


def _tried(means: str, step: Callable[[], None]) -> str:
    try:
        step()
    except (OSError, ValueError) as error:
        return f"{means}: {getattr(error, 'strerror', None) or error}"
    return ""


def _limit(file_bytes: int, memory: int) -> None:
    """Lowers what this process may have; `memory` is beyond what it has, 0 for no limit of that.

    A device's libraries reserve address space by the terabyte.
    """
    import resource

    limits = [(resource.RLIMIT_NOFILE, MOST_OPEN_FILES), (resource.RLIMIT_FSIZE, file_bytes)]
    if memory and sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
        limits.append((resource.RLIMIT_AS, pages * resource.getpagesize() + memory))
    for which, most in limits:
        soft, hard = (most if old == resource.RLIM_INFINITY else min(old, most) for old in
                      resource.getrlimit(which))  # fmt: skip
        resource.setrlimit(which, (soft, hard))


def _confine(config: WorkerConfig, has_gpu: bool) -> None:
    kernel.landlock_version()  # which fails where there is none
    others = len(os.listdir("/proc/self/task")) - 1
    kernel.confine_files(_rules(config, has_gpu))
    if others:
        raise OSError(0, f"{others} other threads ran already, and are not confined")
    if (version := kernel.landlock_version()) < kernel.TRUNCATE_SINCE:
        raise OSError(0, f"this kernel's Landlock is of version {version} and lets files be cut short")


def _rules(config: WorkerConfig, has_gpu: bool) -> Iterator[tuple[bytes, int]]:
    """Paths and the rights to them; twice named, the rights add up."""
    from framemill.models.registry import user_folder
    from framemill.models.store import cache_folder

    sandbox = config.sandbox
    cache = cache_folder()
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)  # no rule can be made for what is not there
    environ = os.environ.get
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path)]
    own += filter(None, environ("LD_LIBRARY_PATH", "").split(os.pathsep))
    own += [environ("FRAMEMILL_MODEL_MIRROR", ""), str(user_folder()), *_SYSTEM]
    own += [plugin.folder for plugin in config.plugins]
    changed = [str(cache), environ("TMPDIR", ""), "/dev/null"]
    if "network" in sandbox.open:
        own += [*_OF_A_NETWORK, *(environ(name, "") for name in _NAMED_FOR_A_NETWORK)]
        changed.append("~/.aws/sso/cache")
    if has_gpu:
        changed += [path for pattern in _OF_DEVICES for path in glob.glob(pattern)]
        changed += [*_KEPT_FOR_DEVICES, *(environ(name, "") for name in _NAMED_FOR_DEVICES)]
    for path in filter(None, dict.fromkeys(own)):
        yield from _shown(os.fsencode(os.path.abspath(os.path.expanduser(path))), kernel.LIST)
    for source in sandbox.reads:  # resolved already, and often many
        yield from _shown(source, 0) if source == b"/" else [(source, kernel.READ)]
    for path in filter(None, changed):
        yield os.fsencode(os.path.expanduser(path)), kernel.WRITE
    for place in sandbox.writes:
        yield place, kernel.WRITE


def _shown(folder: bytes, rights: int) -> Iterator[tuple[bytes, int]]:
    """A path to read; of one that holds the home folder all but what is hidden there, as keys are.

    Args:
        rights: to a folder that is gone through so, and to all below it.
    """
    home = os.path.realpath(os.fsencode(os.path.expanduser("~")))
    folder = os.path.realpath(folder)
    if not is_above(folder, home):
        yield folder, kernel.READ
        return
    if rights:
        yield folder, rights
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            path = os.path.realpath(entry.path)  # a link may lead to what is left out
            if is_above(path, home):
                yield from () if entry.is_symlink() else _shown(path, 0)
            elif not path.startswith(home.rstrip(b"/") + b"/."):
                yield path, kernel.READ


def is_above(folder: bytes, path: bytes) -> bool:
    """Whether a path is a folder or lies in it; both resolved."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
