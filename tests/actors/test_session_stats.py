"""What is told of a model's session, for `runs`: also what happened to it on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.actors.batcher import Batcher
from framemill.actors.session_stats import describe_session, session_stats
from framemill.models.providers import SessionReport
from framemill.models.session import OnnxSession
from tests.models.test_device_sessions import FULL, Cuda

REPORT = SessionReport(
    model="m",
    provider="cuda",
    attempts=(("tensorrt", "not installed"), ("cuda", "ok")),
    num_nodes={"CUDAExecutionProvider": 9, "CPUExecutionProvider": 1},
    max_batch=32,
    note="a note",
)


def test_a_batch_that_was_halved_is_in_the_account() -> None:
    runner = OnnxSession("m", Cuda(5, FULL), 32, 0)
    batcher = Batcher(runner, 32, 0.0)
    before = session_stats(REPORT, runner, batcher.stats())
    assert (before["max_batch"], before["num_halved"], before["batch_fill"]) == (32, 0, 0.0)
    batcher.run({"x": np.ones((20, 2), np.float32)})
    after: dict[str, Any] = session_stats(REPORT, runner, batcher.stats())
    batcher.close()
    assert (after["max_batch"], after["num_halved"], after["num_batches"]) == (5, 2, 1)
    assert after["provider"] == "cuda" and after["attempts"] == {"tensorrt": "not installed", "cuda": "ok"}
    assert after["num_nodes"] == {"CUDAExecutionProvider": 9, "CPUExecutionProvider": 1}
    runner.note = "and another"
    assert session_stats(REPORT, runner, None)["note"] == "a note; and another"


def test_a_person_reads_where_it_runs_and_why() -> None:
    said = describe_session("objects", REPORT)
    assert said.startswith(
        "objects: m runs on cuda in fp32 (9 nodes on CUDAExecutionProvider, 1 nodes on CPU"
    )
    assert "tensorrt: not installed" in said and said.endswith("a note)")
