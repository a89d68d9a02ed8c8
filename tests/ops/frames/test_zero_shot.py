"""Labels by words: tiny text towers in which each word points at a colour, and known answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import plan_ops
from framemill.cluster.run.quality import with_quality
from framemill.errors import ModelError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.frames.embeddings import unit_vectors
from framemill.ops.frames.labels import Labels, LabelsOptions
from framemill.ops.frames.text_encoder import TextEncoder
from framemill.ops.frames.zero_shot import WordClasses, sigmoid, softmax
from framemill.testing import NUM_FRAMES, check_operation
from tests.ops.frames.embedding_stand_ins import LabelsRunner
from tests.ops.frames.test_aesthetics import embedded, frames
from tests.ops.frames.towers import word_tower
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

COLOURS = {"dog": (1, 0, 0), "cat": (0, 1, 0), "beach": (0, 0, 1)}
SCALES = {
    "siglip2_text": (10.0, -6.0),
    "siglip_text": (20.0, -9.0),
    **dict.fromkeys(("clip_text", "openclip_text"), (8.0, 0.0)),
}


def entry_of(folder: Path, family: str) -> ModelEntry:
    scale, bias = SCALES[family]
    return word_tower(
        folder / family, family, COLOURS, logit_scale=scale, logit_bias=bias, labels=("dog", "cat", "beach")
    )


def opened(entry: ModelEntry) -> Model:
    return open_model(entry, Path(entry.path), 1, "cpu")[0]


def labels(folder: Path, family: str, **options: Any) -> Labels:
    return Labels(LabelsOptions(**options), {"labels": opened(entry_of(folder, family))})


@pytest.mark.parametrize("family", ["siglip2_text", "siglip_text"])
def test_each_word_has_a_probability_of_its_own(tmp_path: Path, family: str) -> None:
    op = labels(tmp_path, family, score=0.0)
    rows = op.run(frames(0, 0), embedded([0.8, 0.6, 0], [0, 0, 1]))
    assert rows.schema.equals(Labels.schema, check_metadata=True)
    assert rows["label"].to_pylist()[:4] == ["dog", "cat", "beach", "beach"]
    assert rows["rank"].to_pylist() == [0, 1, 2] * 2 and rows["frame_index"].to_pylist() == [0] * 3 + [1] * 3
    scale, bias = SCALES[family]
    expected = [1 / (1 + np.exp(-(scale * cosine + bias))) for cosine in (0.8, 0.6, 0)]
    np.testing.assert_allclose(rows["score"].to_numpy()[:3], expected, rtol=1e-5)
    # What else is in the vocabulary is of no concern.
    alone = labels(tmp_path, family, score=0.0, vocabulary="cat").run(frames(0, 0), embedded([0.8, 0.6, 0]))
    assert alone["score"].to_pylist() == [rows["score"][1].as_py()]


@pytest.mark.parametrize("family", ["clip_text", "openclip_text"])
def test_words_of_clip_exclude_each_other(tmp_path: Path, family: str) -> None:
    rows = labels(tmp_path, family, score=0.0).run(frames(0), embedded([0.8, 0.6, 0]))
    powers = np.exp(8 * np.array([0.8, 0.6, 0]))
    np.testing.assert_allclose(rows["score"].to_numpy(), powers / powers.sum(), rtol=1e-5)


def test_less_counts_where_each_word_stands_alone(tmp_path: Path) -> None:
    # Cosines that make 0.02 of SigLIP's words, and 0.02 of CLIP's second one.
    logit = np.log(0.02 / 0.98)
    cosine = (logit + 6) / 10
    single = embedded([cosine, np.sqrt(1 - cosine**2), 0])
    assert "dog" in labels(tmp_path, "siglip2_text").run(frames(0), single)["label"].to_pylist()
    strict = labels(tmp_path, "siglip2_text", score=0.03).run(frames(0), single)
    assert "dog" not in strict["label"].to_pylist()
    angle = np.linspace(0, np.pi / 4, 10_000)
    shares = np.exp(8 * np.sin(angle)) / (np.exp(8 * np.sin(angle)) + np.exp(8 * np.cos(angle)) + 1)
    second = angle[np.argmin(np.abs(shares - 0.02))]
    both = embedded([np.cos(second), np.sin(second), 0])
    assert labels(tmp_path, "clip_text").run(frames(0), both)["label"].to_pylist() == ["dog"]
    lower = labels(tmp_path, "clip_text", score=0.01).run(frames(0), both)
    assert lower["label"].to_pylist() == ["dog", "cat"]


def test_pictures_are_not_looked_at_again(tmp_path: Path) -> None:
    class Unseen(ArrayFrames):
        def rgb(self, size: Any = None) -> Any:
            raise AssertionError("a second look at the picture")

        crops = jpeg = luma = rgb  # type: ignore[assignment]

    seen = frames(9)
    rows = labels(tmp_path, "siglip2_text").run(Unseen(seen.pixels), embedded([1, 0, 0]))
    assert rows["label"].to_pylist() == ["dog"]


def test_words_stand_in_the_sentences_of_the_families(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    real = TextEncoder.encode

    def heard(encoder: TextEncoder, texts: Sequence[str]) -> Any:
        said.extend(texts)
        return real(encoder, texts)

    monkeypatch.setattr(TextEncoder, "encode", heard)
    for family in ("siglip2_text", "clip_text"):
        labels(tmp_path, family, vocabulary="dog,a {cat}")
    assert said[:2] == ["This is a photo of dog.", "This is a photo of a {cat}."]
    assert said[2:] == ["a photo of a dog.", "a photo of a a {cat}."]


def test_the_words_go_through_the_tower_once(tmp_path: Path) -> None:
    model = opened(entry_of(tmp_path, "siglip2_text"))
    calls: list[int] = []

    class Counted:
        max_batch = model.runner.max_batch

        def run(self, inputs: Any) -> Any:
            calls.append(len(inputs["input_ids"]))
            return model.runner.run(inputs)

        run_whole = run

    op = Labels(LabelsOptions(), {"labels": Model(model.entry, Counted())})
    for _ in range(3):
        op.run(frames(0), embedded([1, 0, 0]))
    assert calls == [3]


@pytest.mark.parametrize("family", ["siglip2_text", "clip_text", "openclip_text"])
def test_labels_by_words_keep_the_contract(tmp_path: Path, family: str) -> None:
    vectors = unit_vectors(np.random.default_rng(4).normal(size=(NUM_FRAMES, 3)))
    check_operation(
        Labels,
        options=LabelsOptions(score=0.001),
        models={"labels": opened(entry_of(tmp_path, family))},
        upstream=embedded(*vectors.tolist()),
    )


def test_the_vocabulary_is_a_list_or_a_file_and_the_same_words_are_the_same_option(tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("dog\n\n  a beach, at night \ndog\n", "utf-8")
    options = LabelsOptions(vocabulary=f"@{listed}")
    assert options.vocabulary.splitlines() == ["dog", "a beach, at night"]
    assert LabelsOptions(vocabulary=options.vocabulary) == options
    listed.unlink()  # what was read stays, as workers may be elsewhere
    assert LabelsOptions(vocabulary=options.vocabulary) == options
    assert LabelsOptions(vocabulary=" cat , dog,cat") == LabelsOptions(vocabulary="cat\ndog\n")
    assert LabelsOptions(vocabulary="cat").vocabulary.splitlines() == ["cat"]


@pytest.mark.parametrize(
    ("given_text", "words"),
    [
        ("@/no/such/file", r"/no/such/file cannot be read: .*; give a text file with a label a line"),
        (" , ", "has 0 labels; give 1 to 1000"),
        (",".join(map(str, range(1001))), "has 1001 labels; give 1 to 1000"),
        ("dog," + "a" * 101, "at most 100 letters"),
        ("dog,\x1b[31m", "all printable"),
    ],
)
def test_what_is_no_vocabulary_is_refused(given_text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LabelsOptions(vocabulary=given_text)


def test_towers_without_what_scores_need_are_refused(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, "siglip2_text")
    model = opened(entry)
    with pytest.raises(ModelError, match=r"states no `logit_scale`.*into its block"):
        Labels(LabelsOptions(), {"labels": replace(model, entry=replace(entry, logit_scale=0.0))})
    with pytest.raises(ModelError, match=r"states no `labels`.*the option `vocabulary`"):
        Labels(LabelsOptions(), {"labels": replace(model, entry=replace(entry, labels=()))})
    with pytest.raises(ModelError, match="vectors of pictures have 2 numbers, those of model"):
        WordClasses(model, ["dog"]).probabilities(np.ones((1, 2), np.float32))


def test_a_classifier_takes_no_vocabulary() -> None:
    with pytest.raises(
        ModelError, match="shufflenet_v2_int8 has classes of its own; leave it out, or choose"
    ):
        Labels(LabelsOptions(vocabulary="dog"), {"labels": Model(SMALL["labels"], LabelsRunner())})


def plan(**given: Any) -> Any:
    return plan_ops(with_quality(ExtractRequest(sources=("x",), output="o", ops=("labels",), **given)), 60.0)


def test_the_default_builds_on_the_vectors_of_frames() -> None:
    planned = plan()
    assert planned.ops["labels"].after == planned.added == ("image_embeddings",)
    assert list(plan(models={"labels": "mobilenet_v2"}).ops) == list(plan(quality="fast").ops) == ["labels"]


def test_a_classifier_is_not_kept_to_the_frames_of_a_cascade_of_vectors() -> None:
    ops = ("frames", "image_embeddings", "labels")
    request = ExtractRequest(
        sources=("x",), output="o", ops=ops, cascade=("image_embeddings",), models={"labels": "mobilenet_v2"}
    )
    planned = plan_ops(request, 60.0)
    assert "candidates" in planned.ops["image_embeddings"].after and planned.ops["labels"].after == ()


def test_the_key_follows_the_words_and_the_towers() -> None:
    def key(**given: Any) -> Any:
        return plan(**given).ops["labels"].key["digest"]

    def words(text: str) -> Any:
        return key(options={"labels": {"vocabulary": text}})

    assert words("dog,cat") == words("dog, cat,dog") != words("cat,dog")
    assert len({key(), words("dog"), key(models={"image_embeddings": "clip_vit_b32"})}) == 3


def test_with_a_named_image_model_goes_its_own_text_tower() -> None:
    def tower(**given: Any) -> str:
        return with_quality(ExtractRequest(sources=("x",), output="o", **given)).models.get("labels", "")

    assert tower(ops=("labels",), models={"image_embeddings": "clip_vit_b32"}) == "clip_vit_b32_text"
    assert tower(ops=("labels",), models={"image_embeddings": "siglip_base"}) == "siglip_base_text"
    assert tower(ops=("image_embeddings",), models={"image_embeddings": "clip_vit_b32"}) == ""
    named = {"image_embeddings": "clip_vit_b32", "labels": "mobilenet_v2"}
    assert tower(ops=("labels", "image_embeddings"), models=named) == "mobilenet_v2"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            {"labels": "clip_vit_b32_text"},
            r"labels: model clip_vit_b32_text takes the vectors of clip_vit_b32, but those of "
            r"image_embeddings are siglip2_base's; add `models=\{'image_embeddings': "
            r"'clip_vit_b32'\}`, or .* goes with siglip2_base: "
            r"siglip2_base_text, mobilenet_v2, shufflenet_v2_int8$",
        ),
        (
            {"image_embeddings": "dinov2_small"},
            r"vectors of siglip2_base, but .* are dinov2_small's; .*: mobilenet_v2, shufflenet_v2_int8$",
        ),
    ],
)
def test_towers_of_another_space_are_refused_by_name(models: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(models=models)


VECTORS = arrays(np.float64, (4, 3), elements=st.floats(-1, 1)).filter(
    lambda rows: bool((np.linalg.norm(rows, axis=1) > 0.1).all())
)


@given(VECTORS, st.floats(0.1, 200), st.floats(-30, 10))
def test_probabilities_are_shares_that_rank_as_the_cosines_do(
    rows: np.ndarray, scale: float, bias: float
) -> None:
    cosines = unit_vectors(rows).astype(np.float64) @ np.eye(3)
    for found in (sigmoid(scale * cosines + bias), softmax(scale * cosines + bias)):
        assert found.dtype == np.float32 and (found >= 0).all() and (found <= 1).all()
        for shares, given_cosines in zip(found, cosines, strict=True):
            order = np.argsort(-given_cosines, kind="stable")
            assert (np.diff(shares[order]) <= 0).all()
    np.testing.assert_allclose(softmax(scale * cosines).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(sigmoid(scale * cosines) + sigmoid(-scale * cosines), 1, atol=1e-6)
