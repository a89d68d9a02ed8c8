"""Parquet parts in an object store, as files that pyarrow reads in ranges: only what is asked for travels."""

from __future__ import annotations

from typing import Any

import fsspec
import pyarrow.fs

from framemill.actors.positioned import PositionedFile
from framemill.cluster.results.remote_path import RemotePath


class _PartFile(PositionedFile):
    """One object, for reading. A part never changes under its name."""

    def __init__(self, path: RemotePath, num_bytes: int) -> None:
        super().__init__(num_bytes)
        self._path = path

    def read(self, size: int = -1) -> bytes:
        end = self.num_bytes if size < 0 else min(self.num_bytes, self._position + size)
        if end <= self._position:
            return b""
        data = self._path.read_range(self._position, end)
        self._position = end
        return data


class _Parts(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The objects of one bucket by their keys, for reading alone."""

    cachable = False

    def __init__(self, root: RemotePath) -> None:
        super().__init__()
        self._root = root
        self._sizes: dict[str, int] = {}

    def _at(self, key: str) -> RemotePath:
        return RemotePath(self._root.scheme, self._root.bucket, key)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        if path not in self._sizes:
            self._sizes[path] = self._at(path).num_bytes()
        return {"name": path, "size": self._sizes[path], "type": "file"}

    def isfile(self, path: str) -> bool:
        return True  # asking would cost a request, and opening finds out

    def open(self, path: str, mode: str = "rb", **_: Any) -> _PartFile:
        return _PartFile(self._at(path), self.info(path)["size"])


def object_file_system(root: RemotePath) -> pyarrow.fs.FileSystem:
    """The bucket that `root` lies in; names are keys."""
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(_Parts(root)))
