"""Text cut into the tokens of a model, by the `tokenizer.json` beside its weights."""

from __future__ import annotations

from collections.abc import Sequence

from framemill.errors import ModelError
from framemill.models.checked_files import read_checked
from framemill.models.entry import ModelEntry
from framemill.models.store import find

TOKENIZER_FILE = "tokenizer.json"


class Tokenizer:
    """The tokens of one model. Thread-safe.

    Raises:
        ModelError: the model has no tokenizer, it is damaged, or the package `tokenizers` is missing.
    """

    def __init__(self, entry: ModelEntry, max_tokens: int) -> None:
        """`max_tokens`: what is longer is cut off; marks of start and end count."""
        path = find(entry) / TOKENIZER_FILE
        try:
            from tokenizers import Tokenizer as Rust
        except ImportError as exc:
            raise ModelError(
                f"the package tokenizers is not usable ({exc}); install the extra `cpu` or `gpu`"
            ) from exc
        if not path.is_file():
            raise ModelError(
                f"model {entry.name}: {path} is not there; a model of family {entry.family!r} is a folder "
                f"with {TOKENIZER_FILE} beside the weights"
            )
        content = read_checked(path)
        try:
            self._rust = Rust.from_buffer(content)
        except Exception as exc:  # the library raises bare exceptions
            raise ModelError(f"model {entry.name}: {path} is no tokenizer: {str(exc)[:200]}") from exc
        self._rust.no_padding()
        self._rust.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without padding."""
        return [encoded.ids for encoded in self._rust.encode_batch(list(texts))]

    def id_of(self, token: str) -> int:
        """The id of a token, such as one for padding; 0 where there is none."""
        return self._rust.token_to_id(token) or 0
