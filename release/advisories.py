"""Asks pip-audit whether something is known against the pins: python -m release.advisories

pip-audit is none of our dependencies, and asks a database over the network: where either is missing, nothing
was checked, which is said and is a failure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from release.bill_of_materials import REPOSITORY, pin_sets

MISSING = 3


def find_auditor() -> str | None:
    """The program beside this interpreter, else that on PATH."""
    beside = Path(sys.executable).with_name("pip-audit")
    return str(beside) if beside.is_file() else shutil.which("pip-audit")


def main() -> int:
    """0: nothing is known; 1: something is, or a set could not be checked; 3: pip-audit is missing."""
    auditor = find_auditor()
    if auditor is None:
        print(
            "pip-audit is not here, so nothing was checked: install it into an environment of its own, such "
            "as with `pipx install pip-audit`, and run this again where there is internet",
            file=sys.stderr,
        )
        return MISSING
    bad = []
    for name in pin_sets():
        print(f"constraints/{name}.txt", flush=True)
        pins = REPOSITORY / "constraints" / f"{name}.txt"
        done = subprocess.run(
            [auditor, "--no-deps", "--disable-pip", "--requirement", str(pins)], check=False
        )
        bad += [name] if done.returncode else []
    if bad:
        print(f"known against, or not checked: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
