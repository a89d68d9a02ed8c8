"""The packed mappings answer as dicts of their records would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.results.commits import Commit, DatasetState, Part, commit_from_json, commit_to_json
from framemill.cluster.results.packed import Entries, Entry, SourceRecord, Sources

NAMES = st.sampled_from("abcdefgh")
RECORDS = st.builds(
    SourceRecord,
    NAMES,
    st.sampled_from(["", "id1", "id2"]),
    st.integers(-1, 2**60),
    st.integers(-1, 2**62),
    st.floats(0, 1e6),
)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(["*", "frames", "media"]),
    NAMES,
    st.sampled_from(["k1", "k2"]),
    status=st.sampled_from(["ok", "failed"]),
    transient=st.booleans(),
    attempts=st.integers(1, 3),
    rows=st.integers(0, 9),
    kept=st.sampled_from(["", "k0"]),
    additions=st.sampled_from([None, (), ("images quality=90",)]),
    kind=st.sampled_from(["", "cut short"]),
)


@given(st.lists(st.tuples(st.booleans(), RECORDS)))
def test_sources(steps: list[tuple[bool, SourceRecord]]) -> None:
    packed, plain = Sources(), dict[str, SourceRecord]()
    for is_added, record in steps:
        if is_added:
            packed[record.uri] = plain[record.uri] = record
        else:
            assert packed.pop(record.uri, None) == plain.pop(record.uri, None)
        assert (len(packed), record.uri in packed) == (len(plain), record.uri in plain)
    assert dict(packed) == plain and dict(Sources(packed)) == plain and list(packed) == list(plain)
    assert all(packed.get(name) == plain.get(name) for name in "abcdefgh")


@given(st.lists(st.tuples(st.booleans(), ENTRIES)))
def test_entries(steps: list[tuple[bool, Entry]]) -> None:
    packed, plain = Entries(), dict[tuple[str, str], Entry]()
    for is_added, entry in steps:
        at = (entry.table, entry.owner)
        if is_added:
            packed[at] = plain[at] = entry
        else:
            assert packed.pop(at, None) == plain.pop(at, None)
        assert (len(packed), at in packed, packed.get(at)) == (len(plain), at in plain, plain.get(at))
    assert dict(packed) == plain and dict(Entries(packed)) == plain
    assert ("no table", "a") not in packed and packed.get(("no table", "a")) is None


@given(st.lists(RECORDS), st.lists(ENTRIES))
def test_the_pieces_of_a_checkpoint_add_up_to_the_state(
    records: list[SourceRecord], entries: list[Entry]
) -> None:
    state = DatasetState(sequence=7, keys={"frames": {"digest": "k1"}})
    state.sources.update((record.uri, record) for record in records)
    state.entries.update(((entry.table, entry.owner), entry) for entry in entries)
    state.last_used.update({record.source_id: 5.0 for record in records})
    again = DatasetState()
    for piece in state.pieces("run"):
        again.apply(commit_from_json(commit_to_json(piece), "x"))
    assert (again.sequence, again.keys, again.last_used) == (7, state.keys, state.last_used)
    assert dict(again.sources) == dict(state.sources) and dict(again.entries) == dict(state.entries)


@given(st.lists(st.sets(NAMES, min_size=1), max_size=8), st.sets(NAMES, max_size=4), st.integers(0, 8))
def test_the_parts_of_few_owners_are_found_as_those_of_many(
    commits: list[set[str]], wanted: set[str], asked_first: int
) -> None:
    state = DatasetState()
    for number, owners in enumerate(commits):
        if number == asked_first:
            state.plan_drop("frames", wanted)  # from now on it is kept up to date
        # A commit writes parts anew without the owners that it brings itself, as a real one does.
        gone = [part for part in state.parts.values() if owners.intersection(part.owners)]
        kept = [
            Part("frames", f"{number}-{n}", 1, 1, rest)
            for n, part in enumerate(gone)
            if (rest := tuple(sorted(set(part.owners) - owners)))
        ]
        new = Part("frames", f"{number}-new", 1, 1, tuple(sorted(owners)))
        removed = tuple((part.table, part.name) for part in gone)
        state.apply(Commit(run_id="r", sequence=number + 1, parts=(*kept, new), removed_parts=removed))
    held = [(part, wanted.intersection(part.owners)) for part in state.parts_of("frames")]
    assert state.plan_drop("frames", wanted) == [(part, found) for part, found in held if found]
