"""Tries a model that a user adds, in a process of its own, whose memory and time are bounded.

The file may be anybody's: a graph of a hundred bytes can fill gigabytes when the runtime folds its
constants, compute without an end, or end the process that opens it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from framemill.errors import ModelError
from framemill.models.entry import Batching
from framemill.models.onnx_batching import check_batching, parse_graph

# Beyond what the process has when the runtime is there: for what three rows take on their way, and for copies
# of the weights, which runtimes pack anew.
MOST_BYTES, MOST_BYTES_A_FILE_BYTE = 3 << 30, 4
MOST_SECONDS = 600.0
# What libraries say when they are given no more memory; the arena's name is what is left of a long message.
_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate memory", "memoryerror", "bfc_arena")
_REMEDY = "export it for smaller rows, with its constants in the file"


def try_model(content: bytes, path: Path, input_size: tuple[int, int] | None) -> tuple[Batching, str]:
    """Opens a model and runs a few rows; how it may be batched, and why (see `check_batching`).

    Args:
        content: of the file at `path`, which `parse_graph` takes. input_size: as `check_batching` takes it.

    Raises:
        ModelError: the runtime cannot open it, it takes more memory or time than a model may, or it ends the
            process.
    """
    root = str(Path(__file__).absolute().parents[2])  # not resolved: in the repository a link leads here
    given = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-P", "-m", "framemill.models.trial", str(path), json.dumps(input_size)]
    try:
        done = subprocess.run(
            command,
            input=content,
            capture_output=True,
            timeout=MOST_SECONDS,
            env={**os.environ, "PYTHONPATH": given},
        )
    except subprocess.TimeoutExpired as exc:
        raise ModelError(
            f"{path} was tried for {MOST_SECONDS:g} s, and a model runs three rows sooner; {_REMEDY}"
        ) from exc
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr[-300:].decode("utf-8", "replace").strip() or "nothing"
        raise ModelError(
            f"{path} ended the process that tried it (exit code {done.returncode}; it said: {said}): it is "
            "damaged, or takes what the machine does not have; export it again"
        ) from None
    if answer["error"]:
        raise ModelError(answer["error"])
    return answer["batching"], answer["reason"]


def _judge(content: bytes, path: Path, input_size: tuple[int, int] | None) -> tuple[Batching, str]:
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise ModelError(f"ONNX Runtime is not usable ({exc}); install the extra `cpu` or `gpu`") from exc
    model = parse_graph(content, path)
    most = MOST_BYTES + MOST_BYTES_A_FILE_BYTE * len(content)
    _limit(most)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        # Falling back, it would try the same again and print about it, before what `--json` prints.
        session = ort.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
        raise ModelError(
            _too_large(path, most, exc)
            or f"{path} cannot be run: {str(exc)[:300]}; export it with the operators of ONNX alone"
        ) from exc
    del session  # the trial of rows opens its own
    batching, reason = check_batching(model, input_size)
    if problem := _too_large(path, most, reason):
        raise ModelError(problem)
    return batching, reason


def _limit(most: int) -> None:
    """Lets this process have so many bytes more than it has; where no such limit is, as on macOS, as before.

    Of data, not of address space, of which the runtime asks for more than it uses.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/status", encoding="utf-8") as file:
            held = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most += held
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _too_large(path: Path, most: int, problem: Exception | str) -> str:
    """Words for memory that was not to be had; empty where something else is the matter."""
    text = f"{type(problem).__name__} {problem}".lower()
    if not any(word in text for word in _NO_MEMORY):
        return ""
    return f"{path} takes more than {most >> 20} MiB of memory to be tried with three rows; {_REMEDY}"


def main(path: str, input_size: str) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand before the answer
    answer = {"batching": "none", "reason": "", "error": ""}
    size = json.loads(input_size)
    try:
        answer["batching"], answer["reason"] = _judge(
            sys.stdin.buffer.read(), Path(path), tuple(size) if size else None
        )
    except ModelError as exc:
        answer["error"] = str(exc)
    except Exception:
        traceback.print_exc()
        os._exit(1)
    json.dump(answer, out)
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
