"""Exceptions on their way from the process that met them to the one that decides what they mean."""

from __future__ import annotations

import traceback

from framemill import errors
from framemill.cluster.run.jobs import JobFailure
from framemill.cluster.run.messages import Failure
from framemill.errors import FramemillError, LimitError, MediaError, UnreadableError
from framemill.ops.operation import UNFORESEEN


def describe_failure(error: BaseException) -> Failure:
    """An exception as a message."""
    is_memory = isinstance(error, MemoryError)
    if is_memory:
        error = LimitError("ran out of memory: run with fewer `threads`, or raise `memory_bytes`")
    elif isinstance(error, OSError) and not isinstance(error, FramemillError):
        # Who writes says so by an error of ours: it was reading that failed, and may go well the next time.
        error = UnreadableError(f"cannot be read: {error.strerror or error}")
    is_ours = isinstance(error, FramemillError)
    text = str(error) if is_ours else f"{type(error).__name__}: {error}"
    return Failure(
        error=type(error).__name__,
        message=text.encode("utf-8", "backslashreplace").decode(),  # a file's name may be no text
        status=error.status if isinstance(error, MediaError) else "failed",
        transient=is_memory or (isinstance(error, MediaError) and error.transient),
        fatal=is_ours and not isinstance(error, MediaError),
        trace="" if is_ours else "".join(traceback.format_exception(error)),
    )


def error_from(failure: Failure) -> FramemillError:
    """What ends the run. Errors of one input have an exit code that would say less."""
    kind = getattr(errors, failure.error, FramemillError)
    return (FramemillError if issubclass(kind, MediaError) else kind)(failure.message)


def job_failure(failure: Failure, operation: str) -> JobFailure:
    """A failure that concerns one source, or an operation on it.

    What nobody foresaw is worded here: an exception of a library says nothing to who has the file.
    """
    if failure.trace:
        message = (
            "reading it met something that this version was not made for: the file is damaged, or of a kind "
            "that is not known; run again with `retry_failed` and -vv to see what, and report that"
        )
        return JobFailure(operation, failure.status, UNFORESEEN, message, failure.transient)
    return JobFailure(operation, failure.status, failure.error, failure.message, failure.transient)
