"""`python -m tests.fuzz.adding WHAT FILE...`: what `models add` says of each, a line of JSON each.

What is `onnx`, where the file is added for the role that its name begins with, or `toml`, where it is a block
of the user's, which every command that names models reads.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from framemill.errors import FramemillError
from framemill.models.adding import add
from framemill.models.registry import all_entries, user_folder

MEMORY_BYTES = 8 << 30  # beyond what is reserved at the start: what asks for more is told that there is none


def judge(what: str, path: Path) -> dict[str, Any]:
    """How it ended (`ok`, `refused`, `crash`), what was said, and the most memory that the process took."""
    problem, outcome = "", "ok"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FRAMEMILL_CONFIG_DIR"] = folder
        try:
            if what == "toml":
                user_folder().mkdir(parents=True)
                (user_folder() / "mine.toml").write_bytes(path.read_bytes())
                all_entries()
            else:
                add(str(path), path.stem.partition("-")[0], name="mine")
                all_entries()
        except FramemillError as exc:
            outcome, problem = "refused", str(exc)
        except Exception:
            outcome, problem = "crash", traceback.format_exc()
        strange = [str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()]
    return {"path": str(path), "outcome": outcome, "said": problem, "peak_mb": _peak_mb(), "written": strange}


def _peak_mb() -> int:
    """The most memory that this program had; what `getrusage` tells begins with that of who started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    with open("/proc/self/statm") as file:
        reserved = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (reserved + MEMORY_BYTES, resource.RLIM_INFINITY))
    for given in sys.argv[2:]:
        print(json.dumps(judge(sys.argv[1], Path(given))), flush=True)
