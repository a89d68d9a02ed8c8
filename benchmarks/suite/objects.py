"""Object detection beside the least that decoding and inference can cost."""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Cost, Setting, SkippedError, run_once, summary
from benchmarks.inputs import object_corpus


def objects_limit(setting: Setting) -> Measured:
    """Our time over (decode + inference, CPU seconds on one thread) / cores, run by run."""
    weights = setting.models / "yolox_nano.onnx"
    if not weights.is_file():
        raise SkippedError("needs yolox_nano.onnx in the folder given by --models")
    corpus, output = object_corpus(setting), setting.scratch("objects")
    sampled = setting.scratch("objects_frames")
    policy = ("--sample", "every:0.5")
    run_once(extract(setting, [corpus], sampled, "--ops", "frames", *policy, expect=["frames"]))
    num_sampled = read_table(sampled, "frames").num_rows
    a = extract(setting, [corpus], output, "--ops", "objects", *policy, expect=["objects"])
    answers: list[dict[str, float]] = []

    def same_frames(stdout: str) -> None:
        answers.append(json.loads(stdout))
        wanted = answers[-1]["frames"]
        if abs(num_sampled - wanted) > 0.01 * wanted:
            raise BenchmarkError(f"{num_sampled} frames sampled, the peer ran on {wanted}")

    peer = [sys.executable, "-m", "benchmarks.peers.bare_objects"]
    b = Command(arguments=[*peer, weights, corpus, "0.5"], check=same_frames)
    costs: list[Cost] = []
    for turn in range(setting.runs + 1):
        own = run_once(a)
        run_once(b)
        if turn:
            costs.append(own)
    bare = [answer["decode_seconds"] + answer["inference_seconds"] for answer in answers[1:]]
    return Measured(
        [own.seconds / (limit / setting.cores) for own, limit in zip(costs, bare, strict=True)],
        {
            "framemill": summary(costs),
            "bare_decode_cpu_seconds": statistics.median(a["decode_seconds"] for a in answers[1:]),
            "bare_inference_cpu_seconds": statistics.median(a["inference_seconds"] for a in answers[1:]),
            "cores": setting.cores,
            "frames": answers[-1]["frames"],
        },
        [limit / own.cpu_seconds for own, limit in zip(costs, bare, strict=True)],
    )


BENCHMARKS = [
    Benchmark(
        name="objects_limit",
        work="objects, every:0.5, 16 minutes of real clips",
        against="(bare decode + bare ONNX Runtime on the same frames, CPU seconds on one thread) / cores",
        goal=1.10,
        unit="x",
        at_least=False,
        run=objects_limit,
    )
]
