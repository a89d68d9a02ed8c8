"""Mutants of model files and of blocks that describe models, through `models add` and what reads blocks.

A crash is anything but an entry or an error of Framemill's own that names the cause, or the end of the
process; a hang a file that takes longer than `DEADLINE_SECONDS`, or more memory than `MOST_MB`; an escape a
file that was written anywhere but as the block.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.mutants import Mutant, make_mutant
from tests.fuzz.tally import Fault
from tests.shared import SHARED

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH = 50
DEADLINE_SECONDS = 30.0  # of a file; a sound one takes a fraction of a second
MOST_MB = 1500  # of the process, of which libraries take some two hundred
# Small files of real weights by role.
_REAL: Mapping[str, str] = {"emotions": "emotion_mini_xception.onnx", "faces": "yunet_2023mar.onnx"}
_BLOCK = """\
name = "mine"
role = "objects"
family = "yolox"
sha256 = "{digest}"
num_bytes = 12
licence = "MIT"
commercial = "yes"
urls = ["https://models.example/mine.onnx"]
path = ""
input_size = [416, 416]
colour = "bgr"
mean = [0.0, 0.5, 1]
scale = [1.0]
labels = "coco80"
batching = "fixed"
"""


def run_kind(kind: str, seed: int, count: int) -> Iterator[tuple[int, list[Fault]]]:
    """How many mutants were tried, and what came of them, batch by batch."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        files = write_originals(kind, Path(folder))
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            mutants = [make_mutant(seed, n, files, kind) for n in numbers]
            yield len(mutants), list(run_batch(kind, mutants))


def write_originals(kind: str, folder: Path) -> list[Path]:
    """Sound files to be damaged: a block, or models named by the role that they fit."""
    if kind == "TOML":
        (folder / "mine.toml").write_text(_BLOCK.format(digest="a" * 64), encoding="utf-8")
        return [folder / "mine.toml"]
    made = {"aesthetics": _head(), "labels": _classifier()}
    real = {role: SHARED / "models" / name for role, name in _REAL.items()}
    made |= {role: path.read_bytes() for role, path in real.items() if path.is_file()}
    files = []
    for role, content in made.items():
        files.append(folder / f"{role}.onnx")
        files[-1].write_bytes(content)
    return files


def _head() -> bytes:
    """One layer on vectors."""
    from onnx import TensorProto, helper

    weights = helper.make_tensor("weights", TensorProto.FLOAT, (512, 1), [0.01] * 512)
    nodes = [helper.make_node("MatMul", ["vectors", "weights"], ["score"])]
    return _model(nodes, ("vectors", ["n", 512]), ("score", ["n", 1]), [weights])


def _classifier() -> bytes:
    """Of the shape of a labels model, with a batch fixed at 1, a reshape and a constant."""
    from onnx import TensorProto, helper

    weights = helper.make_tensor("weights", TensorProto.FLOAT, (1000, 3, 1, 1), [0.01] * 3000)
    shape = helper.make_tensor("shape", TensorProto.INT64, (2,), [1, -1])
    filled = helper.make_tensor("size", TensorProto.INT64, (1,), [1])
    nodes = [
        helper.make_node("Conv", ["picture", "weights"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["means", "shape"], ["flat"]),
        helper.make_node("ConstantOfShape", ["size"], ["nothing"]),
        helper.make_node("Add", ["flat", "nothing"], ["logits"]),
    ]
    return _model(nodes, ("picture", [1, 3, 32, 32]), ("logits", [1, 1000]), [weights, filled])


def _model(
    nodes: Sequence[Any], given: tuple[str, list[Any]], got: tuple[str, list[Any]], tensors: Sequence[Any]
) -> bytes:
    from onnx import TensorProto, helper

    takes, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in (given, got)
    )
    graph = helper.make_graph(nodes, "graph", [takes], [gives], initializer=tensors)
    opset = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return content


def run_batch(kind: str, mutants: Sequence[Mutant]) -> Iterator[Fault]:
    """What is wrong with the answers to these, each with what was done to the file."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        paths = {Path(folder) / f"{mutant.origin.stem}-{mutant.name}": mutant for mutant in mutants}
        for path, mutant in paths.items():
            path.write_bytes(mutant.content)
        before = 0
        for path, answer in _answers(kind.lower(), list(paths)):
            mutant = paths[path]
            about = f"{mutant.name} ({kind}, {mutant.origin.name}: {', '.join(mutant.damage)}; {mutant.salt})"
            if isinstance(answer, str):
                yield ("hangs" if answer == "late" else "crashes"), f"{about}: {answer}"
                before = 0
                continue
            if answer["outcome"] == "crash" or (answer["outcome"] == "refused" and not answer["said"]):
                yield "crashes", f"{about}: {answer['said'] or 'refused without a word'}"
            if before < MOST_MB <= answer["peak_mb"]:
                yield "hangs", f"{about}: the process grew to {answer['peak_mb']} MB"
            if strange := set(answer["written"]) - {"models/mine.toml"}:
                yield "escapes", f"{about}: wrote {', '.join(sorted(strange))}"
            before = answer["peak_mb"]
        if {path.name for path in Path(folder).iterdir()} != {path.name for path in paths}:
            yield "escapes", f"files came or went beside the models, in the batch of {mutants[0].name}"


def _answers(what: str, paths: list[Path]) -> Iterator[tuple[Path, dict[str, Any] | str]]:
    """What a process says of each file; where it ended or stopped at one, how; another goes on."""
    while paths:
        command = [sys.executable, "-m", "tests.fuzz.adding", what, *map(str, paths)]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
            )
            assert process.stdout is not None
            done = 0
            while line := _line(process, DEADLINE_SECONDS):
                if not line.startswith(b"{"):  # where `--json` prints its answer, nothing else may stand
                    printed = line.decode("utf-8", "replace").strip()
                    yield paths[done], f"printed by a library: {printed}"
                    continue
                answer = json.loads(line)
                yield Path(answer["path"]), answer
                done += 1
            # At its end it has closed what it prints to, and exits; otherwise it still works on a file.
            late = not select.select([process.stdout], [], [], 0)[0]
            if late:
                process.kill()
            code = process.wait()
            process.stdout.close()
            said.seek(0)
            end = said.read()[-300:].decode("utf-8", "replace")
        if done < len(paths):
            yield paths[done], "late" if late else f"the process ended with {code}: {end}"
        paths = paths[done + 1 :]


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The next line of what a process prints; empty at its end, or where none comes in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else b""
