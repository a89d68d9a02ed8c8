"""Adding tables that a command needs to a dataset that was extracted without them."""

from __future__ import annotations

from collections.abc import Sequence

from framemill.cluster.editing.source_pictures import find_file, tracks_of
from framemill.cluster.extraction import run_extract
from framemill.cluster.request import ExtractRequest, Reporter
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset


def complete_tables(dataset: Dataset, tables: Sequence[str], reporter: Reporter) -> bool:
    """Extracts those of `tables` that were never asked for, from the frames that the others were made of.

    Files that are gone or were changed are left out. Call it outside `dataset.hold`.

    Returns:
        Whether anything was extracted. Nothing is where no table is of sampled frames: then the sampling
        policy is not known.

    Raises:
        FramemillError: as `run_extract`.
    """
    keys = dataset.state.keys
    missing = [table for table in tables if table not in keys]
    sampled = sorted({str(key["sampling"]) for key in keys.values() if key.get("sampling")})
    if not missing or not sampled:
        return False
    found = [find_file(dataset, uris) for uris in uris_by_source(dataset).values()]
    sources = tuple(uri for uri, problem in found if not problem)
    if not sources:
        return False
    reporter.message(
        0, f"{' and '.join(missing)} were not extracted and are needed: {len(sources)} files are looked at"
    )
    # The options of adaptive sampling, so that it picks the same frames again.
    options = {"sampling": dict(keys["sampling"]["options"])} if "sampling" in keys else {}
    tracks = tracks_of(dataset)
    request = ExtractRequest(
        sources=sources,
        output=str(dataset.root),
        ops=tuple(missing),
        sample=sampled[0],
        options=options,
        video_track=tracks.video,
        audio_track=tracks.audio,
    )
    run_extract(request, reporter)
    dataset.reload()
    return True
