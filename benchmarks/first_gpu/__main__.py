"""Runs the checks of the first minutes on a GPU.

python -m benchmarks.first_gpu OUT [--models FOLDER] [--files N]
Writes OUT/first-gpu.json and OUT/first-gpu.html; ends with 1 where a check failed, and with 5 without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.first_gpu import driver

try:
    from benchmarks.first_gpu.judging import shares, thresholds
    from benchmarks.first_gpu.page import render
    from benchmarks.first_gpu.steps import SIZES, Step, command_line, missing, plan_steps
    from benchmarks.inputs import copy_packets
except ModuleNotFoundError as exc:
    # Whoever names an interpreter of their own has what it lacks told by name.
    print(
        f"first-gpu: {sys.executable} has no module {exc.name}: install constraints/gpu-cu13.txt",
        file=sys.stderr,
    )
    sys.exit(driver.MISSING)

REPOSITORY = Path(__file__).resolve().parents[2]
CLIP_SECONDS = 10
# Of what a check says in the end, so much is kept.
KEPT = 600


def make_clips(folder: Path, count: int) -> None:
    """For each of `SIZES` a folder of `count` clips, which differ in their bytes alone."""
    for size, (width, height) in SIZES.items():
        target = folder / size
        if target.is_dir():
            continue
        unfinished = folder / f"unfinished-{size}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        source = folder / f"{size}.mp4"
        words = ["--seconds", CLIP_SECONDS, "--width", width, "--height", height]
        command = [sys.executable, "-m", "benchmarks.sample_clip", source, *words]
        subprocess.run([*map(str, command)], cwd=REPOSITORY, check=True)
        for k in range(count if size == "1080p" else 1):
            copy_packets([source], unfinished / f"{k:03d}.mp4", title=str(k))
        unfinished.rename(target)


def run_step(step: Step, models: Path | None, environment: dict[str, str]) -> dict[str, Any]:
    """One check: name, status (passed, failed or skipped), seconds, detail, figures."""
    result: dict[str, Any] = {
        "name": step.name,
        "status": "skipped",
        "seconds": 0.0,
        "detail": "",
        "figures": {},
    }
    if lacking := missing(step, models):
        return {**result, "detail": f"not here: {lacking}"}
    started = time.monotonic()
    process = subprocess.Popen(
        command_line(step),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=step.seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        told, _ = process.communicate()
        told += f"\ntook longer than {step.seconds:.0f} s, and was ended"
    result |= {"seconds": time.monotonic() - started, "detail": told.strip()[-KEPT:], "status": "failed"}
    if process.returncode:
        return result
    if step.figures:
        lines = told.strip().splitlines()
        result |= {"figures": json.loads(lines[-1]), "detail": "\n".join(lines[:-1])[-KEPT:]}
    return {**result, "status": "passed"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_gpu", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, help="folder of weights; ../shared/models by default")
    parser.add_argument("--files", type=int, default=64, help="clips of 1080p")
    arguments = parser.parse_args()
    if problem := driver.problem():
        print(f"first-gpu: {problem}", file=sys.stderr)
        return driver.MISSING
    models = arguments.models or REPOSITORY.parent / "shared" / "models"
    models = models.resolve() if models.is_dir() else None
    out = arguments.out.absolute()
    make_clips(out / "clips", arguments.files)
    environment = {**os.environ, "FRAMEMILL_REQUIRE_GPU": "1", "FRAMEMILL_CACHE_DIR": str(out / "cache")}
    if models is not None:
        environment["FRAMEMILL_MODEL_MIRROR"] = str(models)
    found: dict[str, Any] = {"started_at": datetime.now(UTC).isoformat(timespec="seconds"), "steps": []}
    for step in plan_steps(out / "clips", models):
        done = run_step(step, models, environment)
        found["steps"].append(done)
        last = (done["detail"].splitlines() or [""])[-1]
        print(f"{done['status']:8}{step.name} ({done['seconds']:.1f} s) {last}", flush=True)
        figures = {each["name"]: each["figures"] for each in found["steps"] if each["figures"]}
        found["device"] = figures.get("driver and libraries", {})
        found["thresholds"], found["shares"] = thresholds(figures), shares(figures)
        # After each: whoever's time on the machine runs out has what was found.
        (out / "first-gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        (out / "first-gpu.html").write_text(render(found), encoding="utf-8")
    print(f"{out / 'first-gpu.json'}\n{out / 'first-gpu.html'}")
    return int(any(step["status"] == "failed" for step in found["steps"]))


if __name__ == "__main__":
    sys.exit(main())
