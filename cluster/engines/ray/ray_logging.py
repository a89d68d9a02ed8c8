"""Ray's own messages: kept in a file beside its logs, so that the terminal shows ours alone.

They come in three ways: through the loggers `ray` and `ray.data`, as lines that a thread of Ray's writes to
the standard output when a worker or a node dies, and as errors whose text is a traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from pathlib import Path

import ray
import ray.exceptions

from framemill.cluster.engines.ray.private import take_printed_lines

LOUD = 2  # the verbosity from which on they are shown, too
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class PipelineError(ray.exceptions.RayError):
    """What else than an error of Ray's ended a pipeline, such as one of Python's inside Ray Data: a line."""


class _WordsFile(logging.FileHandler):
    """Where the words of the Ray that is connected go."""


def log_folder() -> str:
    """Folder of Ray's logs on this machine; empty where Ray is not connected."""
    if not ray.is_initialized():
        return ""
    context = ray.get_runtime_context()  # it knows by itself, also where the cluster does not answer any more
    return str(Path(context.get_temp_dir(), context.get_session_name(), "logs"))


def log_to_file(verbosity: int) -> None:
    """From now on the loggers of Ray write to files in `log_folder`; Ray must be connected.

    Ray Data gives its logger handlers when it is imported: to be called again after that.
    """
    warnings.filterwarnings("ignore", module=r"ray\.")
    folder = log_folder()
    file: logging.Handler | None = None
    with contextlib.suppress(OSError):  # where they cannot be kept, they are shown
        file = _WordsFile(Path(folder, f"framemill-{os.getpid()}.log"))
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name, level in (("ray", logging.WARNING), ("ray.data", logging.INFO)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        for handler in list(logger.handlers):
            if isinstance(handler, _WordsFile):
                logger.removeHandler(handler)
                handler.close()
            elif _shows(handler) and file is not None:
                handler.setLevel(logging.WARNING if verbosity >= LOUD else logging.CRITICAL + 1)
        if file is not None:
            logger.addHandler(file)


def _shows(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def keep_printed_logs() -> None:
    """Lines that Ray would print go to its logger; to be called before Ray is connected."""
    take_printed_lines(lambda who, line: logging.getLogger("ray").warning("(%s) %s", who, line))


def one_line(error: BaseException) -> str:
    """What an error of Ray's says, without the traceback that its text may be: what was raised first."""
    if isinstance(error, PipelineError):
        return str(error)
    lines = [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    is_traceback = False
    for line in lines:
        is_traceback = is_traceback or line.startswith(("Traceback ", "  File ", "ray::"))
        if is_traceback and not line.startswith((" ", "Traceback ", "ray::")):
            return line.strip()
    said = f": {lines[0].strip()}" if lines and not is_traceback else ""
    return f"{type(error).__name__}{said}"


def describe_end(error: BaseException) -> str:
    """What to tell where Ray, or the cluster, ended a run."""
    folder = log_folder()
    where = f" (Ray's own messages: {folder})" if folder else ""
    return (
        f"the Ray cluster failed: {one_line(error)}{where}; what was committed stays, and the same command "
        "goes on from there"
    )
