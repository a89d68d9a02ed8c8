"""Every error Framemill raises on purpose.

    FramemillError
    ├── UsageError               what was asked for cannot be done            exit 2
    ├── SetupError               the machine lacks something                  exit 5
    │   ├── ModelError           a model file is missing, wrong or unusable
    │   │   ├── DeviceFullError  a device's memory does not hold a call of the model
    │   │   └── DeviceLostError  a device does not answer this process any more
    │   └── ProviderError        the execution provider asked for did not run
    ├── DatasetError             the output folder cannot be used             exit 1
    │   └── LeaseError           another run holds the output folder
    └── MediaError               one input is bad: becomes a row of `errors`  exit 3
        ├── UnreadableError      the bytes cannot be had (permissions, storage)
        ├── UnsupportedError     well-formed, but no decoder or no picture and no sound
        ├── CorruptError         the container or the stream is broken
        ├── LimitError           refused before or during decoding: too large, too long, too slow
        └── InvariantError       the rows made of it break what every table promises; they are not written

They travel between processes, so each is built from its message alone and survives pickle.
Messages name the value, the limit and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """` (did you mean 'NAME'?)` for messages about an unknown name; empty where no known one is like it.

    Args:
        most: names to give, the nearest first.
    """
    close = list(map(repr, difflib.get_close_matches(name.lower(), list(known), n=most)))
    listed = " or ".join(filter(None, [", ".join(close[:-1]), *close[-1:]]))
    return f" (did you mean {listed}?)" if close else ""


class FramemillError(Exception):
    """Root of all errors raised on purpose; anything else that escapes is a bug (exit 1)."""

    exit_code: ClassVar[int] = 1


class UsageError(FramemillError):
    """The request itself is wrong: an unknown operation, a bad option, an unusable output folder."""

    exit_code = 2


class SetupError(FramemillError):
    """The machine lacks something that the request needs."""

    exit_code = 5


class ModelError(SetupError):
    """A model cannot be found, fails verification, or breaks the contract of its family."""


class DeviceFullError(ModelError):
    """The memory of a device does not hold a call of a model."""


class DeviceLostError(ModelError):
    """A device does not answer this process any more, and nothing but another process may reach it."""


class ProviderError(SetupError):
    """The execution provider that was required did not take the model."""


class DatasetError(FramemillError):
    """The output folder cannot be read or written."""


class LeaseError(DatasetError):
    """Another run holds the output folder and did not let go in time."""


class MediaError(FramemillError):
    """One input cannot be processed; the run goes on without it."""

    exit_code = 3
    status: ClassVar[str] = "failed"
    transient: ClassVar[bool] = False


class UnreadableError(MediaError):
    """The bytes of the input cannot be read; the next run tries again."""

    transient = True


class UnsupportedError(MediaError):
    """The input is well-formed, but there is nothing in it that can be decoded here."""

    status = "unsupported"


class CorruptError(MediaError):
    """The container or a stream is damaged beyond use."""


class LimitError(MediaError):
    """The input exceeds a limit that protects the run."""


class InvariantError(MediaError):
    """Rows of an operation break what every table promises; they are not written."""
