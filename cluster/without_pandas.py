"""Doing without pandas where nobody needs it.

Where it is installed, pyarrow imports it at its first array or dataset: longer than a short clip takes. A
module set to None would do, but pyarrow looks at it from several threads without a lock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("this process does without pandas", name=fullname)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Inside, `import pandas` fails unless it was imported before; pyarrow remembers it for good."""
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
