"""Libraries that take long to import, imported at their first use.

Whoever lists or plans operations needs their modules and no pictures: OpenCV takes 60 ms, a fifth of what a
plan imports. `pyarrow.compute` takes as long, for it writes the texts of 300 functions (measured).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class _AtFirstUse:
    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)  # the next use finds it without coming here
        return value


if TYPE_CHECKING:
    import cv2 as cv2
    import pyarrow.compute as pc
else:
    cv2 = _AtFirstUse("cv2")
    pc = _AtFirstUse("pyarrow.compute")

__all__ = ["cv2", "pc"]
