"""People across files: who belongs together, which ids stay, what is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.people import PEOPLE_SCHEMA, find_people, name_clusters
from framemill.cluster.results import queries
from framemill.cluster.results.commits import Commit, plan_removal
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import read_rows, write_part
from framemill.errors import UsageError
from framemill.models.registry import resolve
from framemill.ops.faces.embeddings import FaceEmbeddings

NAMES = ("ada", "ben", "cleo", "dan")


def add_source(dataset: Dataset, source_id: str, cast: str, by: str = "points") -> None:
    """Commits face embeddings of a file with one face a frame; each letter of `cast` starts a name."""
    centres = np.eye(16)[: len(NAMES)]
    generator = np.random.default_rng(len(source_id) + ord(source_id[-1]))
    who = [next(i for i, name in enumerate(NAMES) if name[0] == letter) for letter in cast]
    vectors = centres[who] + generator.normal(0, 0.1, (len(cast), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table(
        {
            "frame_index": range(len(cast)),
            "pts_seconds": [i / 10 for i in range(len(cast))],
            "face_index": [0] * len(cast),
            "aligned_by": pa.array([by] * len(cast)).dictionary_encode(),
            "vector": vectors.astype(np.float32).tolist(),
        },
        schema=FaceEmbeddings.schema,
    ).add_column(0, "source_id", pa.array([source_id] * len(cast), pa.string()))
    part = write_part(dataset.root, "face_embeddings", [rows], run_id="r", seed=[source_id])
    dataset.commit(
        Commit(
            run_id="r",
            entries=(Entry("face_embeddings", source_id, "k", rows=len(cast)),),
            sources=(SourceRecord(f"/videos/{source_id}.mp4", source_id, 1, 1, 1.0),),
            parts=() if part is None else (part,),
            keys={"face_embeddings": {"digest": "k"}},
        )
    )


def cast_of(dataset: Dataset) -> Mapping[str, list[str]]:
    rows = read_rows(dataset.root, "people", dataset.state.parts_of("people"))
    assert rows is not None and rows.schema.equals(PEOPLE_SCHEMA)
    found: dict[str, list[str]] = {}
    for row in sorted(rows.to_pylist(), key=lambda row: (row["source_id"], row["frame_index"])):
        found.setdefault(row["source_id"], []).append(row["person_id"])
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        add_source(dataset, "s1", "aabab")
        add_source(dataset, "s2", "bbcb")
    return dataset


def test_people_are_the_same_in_all_files(dataset: Dataset) -> None:
    with dataset.hold("p"):
        report = find_people(dataset, "p")
    cast = cast_of(dataset)
    ada, ben, cleo = cast["s1"][0], cast["s1"][2], cast["s2"][2]
    assert len({ada, ben, cleo}) == 3
    assert cast == {"s1": [ada, ada, ben, ada, ben], "s2": [ben, ben, cleo, ben]}
    assert [(p.person_id, p.num_faces, p.num_files) for p in report.people] == [
        (ben, 5, 2), (ada, 3, 1), (cleo, 1, 1),
    ]  # fmt: skip
    assert report.changed and report.num_faces == 9 and all(p.is_new for p in report.people)
    assert report.people[2].uri == "/videos/s2.mp4" and report.people[2].seconds == 0.2


def test_a_second_run_changes_nothing(dataset: Dataset) -> None:
    with dataset.hold("p"):
        first = find_people(dataset, "p")
        sequence = dataset.state.sequence
        again = find_people(dataset, "p2")
    assert dataset.state.sequence == sequence and not again.changed
    assert [(p.person_id, p.uri) for p in again.people] == [(p.person_id, p.uri) for p in first.people]
    assert not any(p.is_new for p in again.people)


def test_the_threshold_is_what_the_model_states(dataset: Dataset) -> None:
    entry = resolve("face_embeddings", "sface_2021dec")
    assert entry.same_above == 0.363
    with dataset.hold("p"):
        key = {"digest": "k", "models": {"face_embeddings": entry.key}}
        dataset.commit(Commit(run_id="p", keys={"face_embeddings": key}))
        find_people(dataset, "p")
        assert not find_people(dataset, "p2", 0.363).changed
        assert find_people(dataset, "p3", 0.5).changed


def test_ids_do_not_depend_on_what_was_run_before(dataset: Dataset, tmp_path: Path) -> None:
    with dataset.hold("p"):
        find_people(dataset, "p")
    other = Dataset.open(tmp_path / "other", create=True)
    with other.hold("q"):
        add_source(other, "s2", "bbcb")
        add_source(other, "s1", "aabab")
        find_people(other, "q")
    assert cast_of(other) == cast_of(dataset)


def test_people_keep_their_ids_when_files_come_and_go(dataset: Dataset) -> None:
    with dataset.hold("p"):
        find_people(dataset, "p")
        before = cast_of(dataset)
        add_source(dataset, "s0", "caad")
        report = find_people(dataset, "p2")
        ada, ben, cleo = before["s1"][0], before["s1"][2], before["s2"][2]
        after = cast_of(dataset)
        dan = after["s0"][3]
        assert after == {**before, "s0": [cleo, ada, ada, dan]}
        assert [p.person_id for p in report.people if p.is_new] == [dan]
        removal = plan_removal(dataset.state, ["/videos/s1.mp4"])
        assert removal.drops["people"] == frozenset({"s1"})
        assert len(dataset.state.parts_of("people")) == 1
        assert {ben} == set(before["s2"]) - {cleo}


def test_faces_without_points_are_left_out(dataset: Dataset) -> None:
    with dataset.hold("p"):
        add_source(dataset, "s3", "aa", by="box")
        add_source(dataset, "s4", "")
        report = find_people(dataset, "p")
        assert report.num_left_out == 2 and report.num_faces == 9
        assert not find_people(dataset, "p2").changed
    assert set(cast_of(dataset)) == {"s1", "s2"}


def test_another_threshold_is_another_clustering(dataset: Dataset) -> None:
    with dataset.hold("p"):
        assert len(find_people(dataset, "p", 0.999).people) == 9
        assert len(find_people(dataset, "p", -1.0).people) == 1


def test_no_faces_are_no_people(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        add_source(dataset, "s1", "")
        report = find_people(dataset, "p")
    assert report.people == () and report.num_faces == 0
    assert dataset.state.parts_of("people") == []


@pytest.mark.parametrize("threshold", [-1.5, 2.0, float("nan")])
def test_a_wrong_threshold_is_refused(dataset: Dataset, threshold: float) -> None:
    with dataset.hold("p"), pytest.raises(UsageError, match="it must be -1 to 1"):
        find_people(dataset, "p", threshold)


def test_without_embeddings_the_remedy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.open(tmp_path / "out", create=True)
    assert main(["people", str(tmp_path / "out")]) == 2
    assert "--ops face_embeddings" in capsys.readouterr().err


def test_the_command(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(dataset.root)
    assert main(["people", out, "--limit", "2"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3  # a header and two people
    assert "3 people in 9 faces; 2 shown" in shown.err
    assert main(["people", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [person["num_faces"] for person in found["people"]] == [5, 3, 1] and not found["changed"]
    rows = queries.query(out, "SELECT count(DISTINCT person_id) FROM people WHERE distance < 1").rows
    assert rows == [(3,)]


def test_a_split_person_keeps_the_id_with_most_faces() -> None:
    keys = [("s", frame, 0) for frame in range(5)]
    earlier = dict.fromkeys(keys, "old")
    first, second = name_clusters(keys, [0, 0, 1, 1, 1], earlier)[::4]
    assert second == "old" and first != "old"
    # The smaller part begins with the face that "old" was named after: it must not get that name again.
    named = name_clusters(keys, [0] * 5, {})
    split = name_clusters(keys, [0, 0, 1, 1, 1], dict(zip(keys, named, strict=True)))
    assert split[4] == named[0] != split[0]


def test_people_are_named_by_the_command_and_keep_their_names_when_found_again(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(dataset.root)
    assert main(["people", out, "--json"]) == 0
    ids = [person["person_id"] for person in json.loads(capsys.readouterr().out)["people"]]
    assert main(["people", out, "--json", "--name", f"{ids[0]}=Ben", "--name", f"{ids[1]}=Ada=L"]) == 0
    named = json.loads(capsys.readouterr().out)["people"]
    assert [(p["person_id"], p["name"]) for p in named] == [(ids[0], "Ben"), (ids[1], "Ada=L"), (ids[2], "")]
    with dataset.hold("more"):
        add_source(dataset, "s3", "bbba")
    assert main(["people", out]) == 0
    assert "Ben" in capsys.readouterr().out
    assert main(["people", out, "--json", "--name", f"{ids[0]}="]) == 0
    assert [p["name"] for p in json.loads(capsys.readouterr().out)["people"]] == ["", "Ada=L", ""]
    assert main(["people", out, "--name", "Ben"]) == 2
    assert "ID=NAME" in capsys.readouterr().err
    assert main(["people", out, "--name", "0123=Ben"]) == 2
    assert "no person 0123" in capsys.readouterr().err
