"""Fetches the files of a model from the first of its addresses that has them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import IO

from framemill.errors import ModelError
from framemill.models.download import OnProgress, download, is_offline, replacing, resuming
from framemill.models.entry import ModelEntry
from framemill.models.folders import digest_file

_CHUNK_BYTES = 1 << 18
_LIMIT_BYTES = 8 << 30  # of a member of an archive whose size nobody states


def fetch_model(entry: ModelEntry, path: Path, on_progress: OnProgress | None) -> None:
    """Fetches a model to `path`, a folder where it has `files`; each file has the digest that is stated.

    What one address lacks is looked for at the next. What came before a transfer broke off is kept, since
    the digest decides, not the address.

    Raises:
        ModelError: no address has it; what each said.
    """
    problems: list[str] = []
    for url in entry.urls:
        if problems and on_progress:
            on_progress(0, 0, f"{problems[-1]}; trying {url}")
        try:
            _fetch_from(entry, url, path, on_progress)
            return
        except ModelError as exc:
            if is_offline():
                raise
            problems.append(str(exc))
    raise ModelError(". ".join(dict.fromkeys(problems)))


def _fetch_from(entry: ModelEntry, url: str, path: Path, on_progress: OnProgress | None) -> None:
    before = 0
    for file in entry.files:
        target = path / file.name
        # What an interrupted download of the folder left whole is kept.
        if not target.is_file() or digest_file(target) != file.sha256:
            progress = on_progress and partial(_tell_of_folder, on_progress, before, entry.num_bytes)
            _fetch_file(entry, url + file.name, target, file.sha256, file.num_bytes, progress)
        before += file.num_bytes
    if not entry.files:
        _fetch_file(entry, url, path, entry.sha256, entry.num_bytes, on_progress)


def _tell_of_folder(on_progress: OnProgress, before: int, total: int, done: int, _: int, retry: str) -> None:
    on_progress(before + done, total, retry)


def _fetch_file(
    entry: ModelEntry, url: str, path: Path, sha256: str, num_bytes: int, on_progress: OnProgress | None
) -> None:
    address, _, member = url.partition("#")
    if member:
        with replacing(path) as file, tempfile.TemporaryFile(dir=path.parent) as packed:
            download(address, packed, 0, on_progress)
            _check(entry, url, _unpack(url, packed, member, file, num_bytes), file.tell(), sha256, num_bytes)
        return
    with resuming(path, sha256) as file:
        is_resumed = bool(file.seek(0, os.SEEK_END))
        got = download(url, file, num_bytes, on_progress)
        if got != sha256 and is_resumed:  # what an earlier attempt left was not the start of it
            file.truncate(0)
            got = download(url, file, num_bytes, on_progress)
        size = file.tell()
        if got != sha256:
            file.truncate(0)
        _check(entry, url, got, size, sha256, num_bytes)


def _check(entry: ModelEntry, url: str, got: str, size: int, sha256: str, num_bytes: int) -> None:
    if got != sha256:
        raise ModelError(
            f"model {entry.name}: {url} sent {size} bytes with sha256 {got}, wanted {num_bytes or 'some'} "
            f"bytes with {sha256}; try again, or put {entry.file_name} into the folder that "
            "FRAMEMILL_MODEL_MIRROR names"
        )


def _unpack(url: str, packed: IO[bytes], member: str, file: IO[bytes], num_bytes: int) -> str:
    """Writes one member of a zip archive to `file`, and returns its sha256 as hex digits.

    Raises:
        ModelError: no such archive or member, or more bytes than expected.
    """
    limit, digest = num_bytes or _LIMIT_BYTES, hashlib.sha256()
    try:
        with zipfile.ZipFile(packed) as archive, archive.open(member) as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                if file.tell() > limit:
                    raise ModelError(f"{url} holds more than the {limit} bytes expected; check the URL")
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError) as exc:
        raise ModelError(f"{url} cannot be unpacked: {exc}; check the URL") from exc
    return digest.hexdigest()
