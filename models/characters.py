"""The characters that a text recogniser distinguishes."""

from __future__ import annotations

from framemill.errors import ModelError
from framemill.models.checked_files import read_checked
from framemill.models.entry import ModelEntry
from framemill.models.store import find

# Key under which PaddleOCR's conversions state one character a line.
METADATA_KEY = "character"


def read_characters(entry: ModelEntry) -> tuple[str, ...]:
    """Characters by class index: class 0 is CTC's blank, an empty text; the last one is a space.

    They are the labels of the entry or, where it has none, those that the file states in its metadata.

    Raises:
        ModelError: the file cannot be found or read, or states no characters.
    """
    if entry.labels:
        return entry.labels
    path = find(entry)
    content = read_checked(path)
    try:
        import onnx

        properties = onnx.load_from_string(content).metadata_props
    except Exception as exc:  # a package that is missing or a file that is no ONNX: nothing can be read
        raise ModelError(
            f"model {entry.name}: the characters in {path} cannot be read ({str(exc)[:200]}); install the "
            "extra `cpu` or `gpu`, or add the model with labels"
        ) from exc
    for item in properties:
        if item.key == METADATA_KEY:
            return ("", *item.value.splitlines(), " ")
    raise ModelError(
        f"model {entry.name}: {path} states no {METADATA_KEY!r} in its metadata; add the model with labels"
    )
