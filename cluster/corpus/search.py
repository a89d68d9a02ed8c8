"""Search for moments: by words as they stand, by the meaning of text or pictures, or by a picture.

Queries go through the model that made the vectors of the dataset, or the text tower beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from framemill.actors.stills import read_still
from framemill.cluster.corpus.word_search import LINES, SPANS, SPOKEN, WORD_TABLES, find_words
from framemill.cluster.results.corpus_tables import outdated_note, uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import dataset_tables
from framemill.errors import FramemillError, MediaError, ModelError, SetupError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.registry import all_entries, fitting, resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.models.store import find, locate
from framemill.ops.chunks import Float32Array
from framemill.ops.frames.embeddings import ImageEmbeddings
from framemill.ops.frames.text_encoder import TEXT_FAMILIES, TOWER_FAMILIES, TextEncoder

IMAGES = "image_embeddings"
TEXTS = ("text_embeddings", "transcript_embeddings")
_ORIGINS = {IMAGES: "picture", TEXTS[0]: "screen", TEXTS[1]: "transcript"}
IMAGE_TEXT = "image_text"
TEXT_ROLE = "text_embeddings"
KINDS = ("auto", "frames", "text", "words")
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Hit:
    """A moment that fits.

    Attributes:
        uri: a file that holds it. pts_seconds: when.
        score: by meaning cosine similarity, -1..1, comparable only among hits of one search; by words 1 where
            they stand next to each other, else 0.5.
        table: where it was found. text: what the row says; empty for frames.
        origin: speech, subtitles, transcript (either), screen, caption, summary or picture.
        by: words or meaning.
    """

    uri: str
    pts_seconds: float
    score: float
    table: str
    text: str = ""
    origin: str = "picture"
    by: str = "meaning"


def search_text(
    dataset: Dataset,
    query: str,
    top: int,
    kind: str = "auto",
    models: Mapping[str, str] | None = None,
    on_note: Note | None = None,
) -> list[Hit]:
    """The moments in which words stand, then those that they describe, best first.

    Args:
        query: the words.
        top: most hits, >= 1.
        kind: `words`: as they stand in transcripts, subtitles and text on screen; `frames`: what pictures
            show; `text`: what is written or said, by words and by meaning; `auto`: words, and by meaning
            frames where their model has a text tower, else text.
        models: role -> registry name or path: of the model that made the vectors where it is not in the
            registry, and of `image_text` where another text tower is wanted.
        on_note: told why words alone were looked for, where there are vectors that no model here fits; and
            which files were left out, as their vectors were made with another model than the newest.

    Raises:
        UsageError: the query is blank, or the dataset has neither texts nor vectors of this kind.
        SetupError: the words cannot be turned into a vector with the models here, and there are no texts.
    """
    if not query.strip():
        raise UsageError("the query is blank: say what to look for")
    if kind not in KINDS:
        raise UsageError(f"cannot search in {kind!r}; choose one of {', '.join(KINDS)}")
    has_words = kind != "frames" and any(table in dataset.state.keys for table in WORD_TABLES)
    has_vectors = any(table in dataset.state.keys for table in (IMAGES, *TEXTS))
    if kind == "words" and not has_words:
        raise UsageError(
            f"{dataset.root} has neither transcripts nor text on screen: run `framemill extract SOURCES -o "
            f"{dataset.root} --ops {SPOKEN},{LINES}` first"
        )
    if kind == "auto" and not has_words and not has_vectors:
        raise UsageError(
            f"{dataset.root} has nothing to search, neither words nor vectors of pictures: run `framemill "
            f"extract SOURCES -o {dataset.root} --ops {SPOKEN},{SPANS},{IMAGES}`, or some of these, first"
        )
    hits = _standing(dataset, query, top) if has_words else []
    if kind == "words" or (has_words and not has_vectors) or len(hits) >= top:
        return hits
    try:
        meant = _meaning(dataset, query, top, kind, models or {}, on_note)
    except FramemillError as error:
        if not has_words:
            raise
        if on_note is not None:
            on_note(f"looked for the words alone, not for their meaning: {error}")
        return hits
    told = {(hit.uri, hit.text) for hit in hits}
    return [*hits, *(hit for hit in meant if not hit.text or (hit.uri, hit.text) not in told)][:top]


def describe_search(dataset: Dataset, kind: str) -> str:
    """What a search that found nothing has looked through, and which operations would add to it.

    Args:
        kind: as in `search_text`.
    """
    tables = {"words": WORD_TABLES, "frames": (IMAGES,), "text": (*WORD_TABLES, *TEXTS)}.get(
        kind, (*WORD_TABLES, IMAGES, *TEXTS)
    )
    state = dataset.state
    files = Counter(entry.table for entry in state.entries.values() if entry.rows_key)
    looked = [
        f"{table} ({files[table]} {'file' if files[table] == 1 else 'files'})"
        for table in tables
        if table in state.keys
    ]
    written = SPANS if LINES not in state.keys else LINES
    more = [t for t in (SPOKEN, written, IMAGES) if t in tables and t not in state.keys]
    remedy = f"; `ops={more}` would add to it" if more else ""
    return f"nothing found in {', '.join(looked)}{remedy}"


def _standing(dataset: Dataset, query: str, top: int) -> list[Hit]:
    """Where the words stand."""
    uris = uris_by_source(dataset)
    return [
        Hit(
            uris.get(found.source_id, [found.source_id])[0],
            found.pts_seconds,
            found.score,
            found.table,
            found.text,
            found.origin,
            "words",
        )
        for found in find_words(dataset_tables(dataset, WORD_TABLES), query, top, uris)
    ]


def _meaning(
    dataset: Dataset, query: str, top: int, kind: str, chosen: Mapping[str, str], on_note: Note | None
) -> list[Hit]:
    """What the words describe."""
    tables = [table for table in TEXTS if table in dataset.state.keys]
    tower = None
    if kind != "text" and IMAGES in dataset.state.keys:
        try:
            tower = _text_tower(dataset, chosen)
        except SetupError:  # an unknown model made the frames' vectors: there may be texts to look through
            if kind == "frames" or not tables:
                raise
    if kind == "frames" or (kind == "auto" and (tower or not tables)):
        if tower is None:
            raise _no_text_tower(dataset, bool(tables))
        encoder = TextEncoder(IMAGE_TEXT, _open(tower), TOWER_FAMILIES)
        return _nearest(dataset, [IMAGES], encoder.encode([query], are_queries=True)[0], top, on_note)
    if not tables:
        raise UsageError(
            f"{dataset.root} has no vectors of text: run `framemill extract SOURCES -o {dataset.root} "
            f"--ops {TEXTS[0]}` for what is written, or with `ops={[TEXTS[1]]!r}` for what is said"
        )
    hits = []
    for table in tables:
        entry = _model_of(dataset, table, TEXT_ROLE, chosen)
        encoder = TextEncoder(TEXT_ROLE, _open(entry), TEXT_FAMILIES)
        hits += _nearest(dataset, [table], encoder.encode([query], are_queries=True)[0], top, on_note)
    return sorted(hits, key=_order)[:top]


def search_image(
    dataset: Dataset,
    image: str,
    top: int,
    models: Mapping[str, str] | None = None,
    on_note: Note | None = None,
) -> list[Hit]:
    """The frames that are most like a picture file, best first; arguments as in `search_text`.

    Raises:
        UsageError: the picture cannot be used, or the dataset has no vectors of frames.
        SetupError: the model that made them cannot be had.
    """
    if IMAGES not in dataset.state.keys:
        raise UsageError(
            f"{dataset.root} has no {IMAGES}: "
            f"run `framemill extract SOURCES -o {dataset.root} --ops {IMAGES}` first"
        )
    try:
        still = read_still(image)
    except MediaError as exc:
        raise UsageError(f"the picture {image}: {exc}") from exc
    model = _open(_model_of(dataset, IMAGES, IMAGES, models or {}))
    vector = ImageEmbeddings(ImageEmbeddings.Options(), {IMAGES: model}).embed(still)[0]
    return _nearest(dataset, [IMAGES], vector, top, on_note)


def _open(entry: ModelEntry) -> Model:
    return open_model(entry, find(entry), 1)[0]


def _model_of(dataset: Dataset, table: str, role: str, chosen: Mapping[str, str]) -> ModelEntry:
    """The model that made a table's vectors.

    Raises:
        SetupError: it is not known here, or the chosen one is another.
    """
    made_by = dataset.state.keys[table]["models"][role]
    candidates = [resolve(role, chosen[role])] if role in chosen else all_entries()
    fitting = [entry for entry in candidates if entry.role == role and entry.key == made_by]
    if fitting:
        # One file may be known from several places; the one that is on this machine needs no download.
        return next((entry for entry in fitting if _is_here(entry)), fitting[0])
    if role in chosen:
        raise SetupError(
            f"{candidates[0].name} did not make the vectors of {table} in {dataset.root}; name the model "
            "that was used"
        )
    raise SetupError(
        f"the vectors of {table} in {dataset.root} were made with a model that is not in the registry "
        f"({made_by}); name its file: `models={{{role!r}: 'PATH'}}`"
    )


def _is_here(entry: ModelEntry) -> bool:
    try:
        return locate(entry) is not None
    except ModelError:
        return False


def _text_tower(dataset: Dataset, chosen: Mapping[str, str]) -> ModelEntry | None:
    """The model whose vectors of words compare with those of the frames; None where there is none."""
    if IMAGE_TEXT in chosen:
        return resolve(IMAGE_TEXT, chosen[IMAGE_TEXT])
    return fitting(IMAGE_TEXT, _model_of(dataset, IMAGES, IMAGES, chosen))


def _no_text_tower(dataset: Dataset, has_texts: bool) -> SetupError:
    if IMAGES in dataset.state.keys:
        problem = f"the model of the frames' vectors in {dataset.root} understands no words"
    else:
        problem = f"{dataset.root} has no vectors of frames"
    tower = resolve(IMAGE_TEXT)
    name = tower.space
    command = (
        f"`framemill extract SOURCES -o {dataset.root} --ops {IMAGES} --model {IMAGES}={name} --replace`"
        if IMAGES in dataset.state.keys
        else f"`framemill extract SOURCES -o {dataset.root} --ops {IMAGES} --model {IMAGES}={name}`"
    )
    remedy = f"run {command} and `framemill models pull {tower.name}`, or search by `image`"
    in_text = ", or with `in='text'`" if has_texts else ""
    return SetupError(f"{problem}; {remedy}{in_text}")


def _nearest(
    dataset: Dataset, tables: Sequence[str], query: Float32Array, top: int, on_note: Note | None
) -> list[Hit]:
    """The rows whose vectors are closest, of those that the model of the newest rows made."""
    if on_note is not None and (note := outdated_note(dataset.state, *tables)):
        on_note(note)
    uris = uris_by_source(dataset)
    held = dataset_tables(dataset, tables)
    hits: list[Hit] = []
    for table in tables:
        source = held[table]
        times = "pts_seconds" if "pts_seconds" in source.schema.names else "start_seconds"
        text = ["text"] if "text" in source.schema.names else []
        # Batch by batch: the vectors of a large corpus need not fit into memory.
        outdated = pa.array(sorted(dataset.state.outdated(table)), pa.string())
        comparable = ~pc.field("source_id").isin(outdated)
        for batch in source.to_batches(columns=["source_id", times, "vector", *text], filter=comparable):
            if not batch.num_rows:
                continue
            scores = _similarities(batch.column("vector"), query, table)
            best = np.argsort(-scores, kind="stable")[:top]
            for row, score in zip(batch.take(pa.array(best)).to_pylist(), scores[best], strict=True):
                uri = uris.get(row["source_id"], [row["source_id"]])[0]
                hits.append(Hit(uri, row[times], float(score), table, row.get("text", ""), _ORIGINS[table]))
            hits = sorted(hits, key=_order)[:top]
    return hits


def _similarities(vectors: pa.Array, query: Float32Array, table: str) -> npt.NDArray[np.float32]:
    flat: npt.NDArray[Any] = vectors.flatten().to_numpy()
    if len(flat) != len(vectors) * len(query):
        raise ModelError(
            f"the query's vector has {len(query)} numbers, those of {table} have "
            f"{len(flat) // len(vectors)}: choose the text tower of the model that made them"
        )
    similar: npt.NDArray[np.float32] = np.clip(flat.reshape(len(vectors), -1) @ query, -1, 1)
    return similar


def _order(hit: Hit) -> tuple[float, str, float]:
    return -hit.score, hit.uri, hit.pts_seconds
