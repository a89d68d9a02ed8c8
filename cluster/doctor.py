"""Is this machine fit to run? Each check says what it found and, where something lacks, what to do."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from framemill.cluster.config import unknown_variables
from framemill.cluster.engines.local.process import ENVIRONMENT
from framemill.cluster.exposure import ray_servers
from framemill.cluster.gpu_checks import gpu_checks, provider_check
from framemill.cluster.machine import cgroup_limits, import_root, usable_cores
from framemill.cluster.run.sandbox import LAYERS
from framemill.errors import ModelError

OUR_PACKAGES = ("framemill",)
OTHER_VARIABLES = (
    "FRAMEMILL_CACHE_DIR",
    "FRAMEMILL_CAPTIONS_KEY",
    "FRAMEMILL_CONFIG_DIR",
    "FRAMEMILL_DECODER",
    "FRAMEMILL_GPU_MEMORY_SHARE",
    "FRAMEMILL_MODEL_MIRROR",
    "FRAMEMILL_OFFLINE",
    "FRAMEMILL_REQUIRE_GPU",
)
PYTHON_RANGE = ((3, 11), (3, 14))  # half-open, as `requires-python` in pyproject.toml
REQUIRED = (
    "av",
    "blake3",
    "click",
    "duckdb",
    "msgspec",
    "numpy",
    "opencv-python-headless",
    "platformdirs",
    "psutil",
    "pyarrow",
    "rich",
    "starlette",
    "uvicorn",
)
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
MINIMUM_MEMORY_BYTES = 2 << 30

# How the finding of a model begins that nobody has fetched, or whose package nobody has installed.
ABSENT = "not on this machine"

Finding = dict[str, str]


def run_checks(with_models: bool = False) -> list[Finding]:
    """All findings in a fixed order, as {check, status, detail, remedy}; status is ok, warn or fail.

    A check that breaks is itself a failed finding: the others still run.

    Args:
        with_models: whether to open every model that is here too.
    """
    findings: list[Finding] = []
    for check in (*_CHECKS, model_checks) if with_models else _CHECKS:
        try:
            findings.extend(check())
        except Exception as error:
            findings.append(
                _finding(check.__name__.strip("_"), "fail", f"{type(error).__name__}: {error}", "report this")
            )
    return findings


def misplaced_packages(locations: Mapping[str, str | None], home: Path) -> dict[str, str]:
    """Package -> the folder or file that answers to its name instead of the one in `home`."""
    return {
        name: found or "nothing"
        for name, found in locations.items()
        if found is None or Path(found).resolve() != (home / name).resolve()
    }


def _finding(check: str, status: str, detail: str, remedy: str = "") -> Finding:
    return {"check": check, "status": status, "detail": detail, "remedy": remedy}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _in_fresh_interpreter(code: str) -> subprocess.CompletedProcess[str]:
    """A native library that crashes while it loads takes that process down and not this one."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def _imported(check: str, code: str) -> Iterator[Finding]:
    """What `code` prints about a library, or how its import ended."""
    done = _in_fresh_interpreter(code)
    if done.returncode == 0:
        yield _finding(check, "ok", done.stdout.strip())
    else:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield _finding(check, "fail", f"import ended with {done.returncode}: {last}", "install it again")


def _python() -> Iterator[Finding]:
    low, high = PYTHON_RANGE
    good = low <= sys.version_info[:2] < high
    yield _finding(
        "python",
        "ok" if good else "fail",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if good else f"use Python {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}",
    )


def _packages() -> Iterator[Finding]:
    for name in REQUIRED:
        version = _version(name)
        yield _finding(
            name,
            "ok" if version else "fail",
            version or "not installed",
            "" if version else "pip install '.[cpu]' -c constraints/cpu.txt",
        )
    version = _version("ray")
    yield _finding("ray", "ok", version or "not installed; only the Ray engine needs it (extra `ray`)")


def _opencv() -> Iterator[Finding]:
    found = [name for name in ("opencv-python", "opencv-contrib-python") if _version(name)]
    if found:
        yield _finding(
            "opencv",
            "warn",
            f"{found[0]} is installed beside opencv-python-headless and overwrites its files",
            f"pip uninstall {found[0]}, then pip install --force-reinstall --no-deps opencv-python-headless",
        )


def _onnxruntime() -> Iterator[Finding]:
    present = {name: version for name in RUNTIMES if (version := _version(name))}
    detail = ", ".join(f"{name} {version}" for name, version in present.items())
    if len(present) > 1:
        remedy = (
            f"pip uninstall {' '.join(RUNTIMES)}, then install one: constraints/gpu-cu13.txt with --no-deps"
        )
        yield _finding(
            "onnxruntime", "fail", f"{detail}: both are installed and overwrite each other", remedy
        )
    elif not present:
        yield _finding(
            "onnxruntime", "fail", "not installed: no model can run", "pip install '.[cpu]' or '.[gpu]'"
        )
    else:
        yield _finding("onnxruntime", "ok", detail)
    if present:
        yield from _imported(
            "providers", "import onnxruntime as o; print(', '.join(o.get_available_providers()))"
        )
    if "onnxruntime-openvino" in present:
        yield from provider_check("openvino", "install onnxruntime-openvino again, as it came with OpenVINO")


def _resources() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted_cores, granted_memory = cgroup_limits()
    cores = min(float(usable), granted_cores or float(usable))
    yield _finding("cores", "ok", f"{cores:g} usable of {os.cpu_count()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = min(memory, granted_memory or memory)
    enough = memory >= MINIMUM_MEMORY_BYTES
    yield _finding(
        "memory",
        "ok" if enough else "warn",
        f"{memory / 1e9:.1f} GB usable",
        "" if enough else f"large pictures need {MINIMUM_MEMORY_BYTES / 1e9:.1f} GB; lower --threads",
    )


def _decoder() -> Iterator[Finding]:
    code = "import av; print(', '.join(f'{n} {v[0]}.{v[1]}' for n, v in sorted(av.library_versions.items())))"
    yield from _imported("ffmpeg in PyAV", code)


def _models() -> Iterator[Finding]:
    from framemill.models import store

    for entry in store.list_models():
        if entry["path"]:
            yield _finding(f"model {entry['name']}", "ok", str(entry["path"]))
        else:
            is_absent = entry["status"] == "absent"
            detail = f"{ABSENT}; role {entry['role']} can use it" if is_absent else entry["problem"]
            yield _finding(f"model {entry['name']}", "warn", detail, f"framemill models pull {entry['name']}")


def model_checks() -> Iterator[Finding]:
    """Opens every model that is here the way a run would, and says where it runs; engines may be built."""
    from framemill.models import store
    from framemill.models.probing import known_probe
    from framemill.models.registry import all_entries
    from framemill.models.session import open_model

    cores = usable_cores()

    for entry in all_entries():
        (found,) = store.verify([entry.name])
        if found["status"] == "absent":
            continue
        try:
            if found["status"] != "ok":
                raise ModelError(found["message"])
            _, report = open_model(entry, Path(found["path"]), cores)
        except ModelError as error:
            yield _finding(f"session of {entry.name}", "fail", str(error), "see `framemill models verify`")
            continue
        nodes = ", ".join(f"{count} nodes on {name}" for name, count in report.num_nodes.items())
        built = f"engine built in {report.build_seconds:.1f} s" if report.build_seconds else ""
        known = known_probe(entry.sha256, cores) if report.provider == "cpu" else None
        threads = f"measured on {cores} cores: {known.threads} threads a row is fastest" if known else ""
        missed = "; ".join(f"{provider}: {what}" for provider, what in report.attempts if what != "ok")
        detail = "; ".join(
            filter(
                None, [f"{report.provider}, {report.precision}", nodes, built, threads, report.note, missed]
            )
        )
        yield _finding(f"session of {entry.name}", "ok", detail)


def _cache() -> Iterator[Finding]:
    from framemill.models.store import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield _finding(
            "cache folder", "fail", f"{folder}: {error.strerror}", "set FRAMEMILL_CACHE_DIR to another"
        )
    else:
        yield _finding("cache folder", "ok", str(folder))


def _sandbox() -> Iterator[Finding]:
    """Enters the sandbox as a worker does, and tries what it takes away."""
    try:
        outside = tempfile.NamedTemporaryFile()  # noqa: SIM115  closed below
    except OSError as error:
        yield _finding("temporary files", "fail", error.strerror or str(error), "name a folder by TMPDIR")
        return
    with outside:
        # In the environment of a worker: threads that a library starts would stay outside.
        done = _in_fresh_interpreter(
            f"import os; os.environ.update({ENVIRONMENT!r})\n"
            f"from framemill.cluster.run.sandbox_trial import try_all; try_all({outside.name!r})"
        )
    if done.returncode != 0:
        raise ChildProcessError(done.stderr.strip())
    for layer, why in json.loads(done.stdout).items():
        remedy = (
            "runs go without it; where files are hostile, decode on a machine or in a container that has it"
        )
        yield _finding(
            f"sandbox {layer}",
            "warn" if why else "ok",
            why or f"kept away: {LAYERS[layer]}",
            remedy if why else "",
        )


def _own_packages() -> Iterator[Finding]:
    home = import_root()
    # As a fresh interpreter in the current folder would find them, which is how workers start.
    code = "import importlib.util as u; print(*(next(iter(s.submodule_search_locations or [s.origin]), '') "
    code += f"if (s := u.find_spec(n)) else '' for n in {OUR_PACKAGES!r}), sep='\\n')"
    done = _in_fresh_interpreter(code)
    if done.returncode != 0:
        raise ChildProcessError(done.stderr.strip())
    found = dict(zip(OUR_PACKAGES, (line or None for line in done.stdout.split("\n")), strict=False))
    wrong = misplaced_packages(found, home)
    for name, place in wrong.items():
        yield _finding(
            f"package {name}",
            "fail",
            f"{place} answers to the name {name!r} instead of {home / name}",
            "run from another folder, rename that one, or install framemill",
        )
    if not wrong:
        yield _finding("own packages", "ok", str(home))


def _ray_cluster() -> Iterator[Finding]:
    servers = ray_servers()
    for server in servers:
        if server.addresses and not server.asks_token:
            known = "without asking for a token" if server.asks_token is False else "and may ask for no token"
            yield _finding(
                "ray cluster",
                "warn",
                f"{server.kind} (process {server.pid}) listens on {', '.join(server.addresses)} {known}: "
                "whoever reaches it can run code here",
                "start Ray with RAY_AUTH_MODE=token on every node (docs/ray.md), or keep it on 127.0.0.1",
            )
    if not any(server.addresses and not server.asks_token for server in servers):
        detail = "guarded by a token or by the loopback address" if servers else "none runs on this machine"
        yield _finding("ray cluster", "ok", detail)


def _environment() -> Iterator[Finding]:
    for name in unknown_variables(os.environ, OTHER_VARIABLES):
        yield _finding(
            f"variable {name}", "warn", "means nothing to framemill", "correct its spelling or unset it"
        )


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _opencv,
    _onnxruntime,
    gpu_checks,
    _resources,
    _decoder,
    _own_packages,
    _sandbox,
    _models,
    _cache,
    _ray_cluster,
    _environment,
)
