"""Mutants that are kept in `seeds`, each a few lines of TOML: what it is made of, and what was done to it.

`base` names a file of `../shared`, one that `tests.fuzz.models` writes, or `rendered` and its ending for a
clip made on the spot. `sha256`, where the base is always the same, is of the mutant: damage that has become
another is told, and does not quietly give another mutant.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from tests.cluster.extraction import render_clip
from tests.fuzz.models import write_originals
from tests.fuzz.mutants import MODEL_KINDS, Mutant, damaged
from tests.shared import SHARED

FOLDER = Path(__file__).parent / "seeds"


def paths() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"))


def make(path: Path, scratch: Path) -> Mutant | None:
    """The mutant that a description tells; None where its base is not at hand.

    Raises:
        ValueError: it is not the one that was kept.
    """
    told = tomllib.loads(path.read_text("utf-8"))
    kind, base, names = told["kind"], told["base"], tuple(told["damage"])
    if base.startswith("rendered"):
        origin = render_clip(scratch / f"{path.stem}{Path(base).suffix}", seed=1)
    elif kind in MODEL_KINDS and not base.startswith("models/"):
        origin = next(file for file in write_originals(kind, scratch) if file.name == base)
    else:
        origin = SHARED / base
    if not origin.is_file():
        return None
    content = damaged(origin.read_bytes(), kind, names, told["salt"])
    digest = hashlib.sha256(content).hexdigest()
    if told.get("sha256", digest) != digest:
        raise ValueError(f"{path.name} gives another mutant ({digest}) than the one kept; take it up anew")
    return Mutant(f"{path.stem}{origin.suffix}", origin, names, content, kind, told["salt"])


def described(mutant: Mutant, why: str) -> str:
    """The lines of a description, to be kept under a name of its own."""
    names = ", ".join(f'"{name}"' for name in mutant.damage)
    base = mutant.origin.relative_to(SHARED) if mutant.origin.is_relative_to(SHARED) else mutant.origin.name
    is_fixed = mutant.kind == "TOML" or mutant.origin.is_relative_to(SHARED)
    digest = f'sha256 = "{hashlib.sha256(mutant.content).hexdigest()}"\n' if is_fixed else ""
    what = f'kind = "{mutant.kind}"\nbase = "{base}"\ndamage = [{names}]\nsalt = {mutant.salt}\n'
    return f"# {why}\n{what}{digest}"
