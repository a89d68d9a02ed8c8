from __future__ import annotations

import inspect
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.actors.batcher import Batcher
from framemill.errors import DeviceFullError, DeviceLostError, ModelError, ProviderError
from framemill.models import whisper
from framemill.models.cuda import Gpu
from framemill.models.memory_plan import plan_memory
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.models.transcription import LANGUAGES, MAX_SAMPLES, TASKS, Decoding, Transcription
from framemill.models.whisper import WhisperRunner, _split, open_whisper

FIRST_TIME = 100


@pytest.fixture(scope="module")
def folder(models_dir: Path) -> Path:
    return models_dir / "whisper_words"


@pytest.fixture(scope="module")
def runner(folder: Path) -> WhisperRunner:
    pytest.importorskip("faster_whisper")
    made = open_whisper(resolve("transcript", str(folder)), folder, 2)[0].runner
    assert isinstance(made, WhisperRunner)
    return made


@pytest.fixture(scope="module")
def sounds(media_dir: Path) -> dict[str, Any]:
    """Short clips of the recogniser's words, read whole."""
    from tests.ops.audio.test_speech import read_sound

    audio = media_dir / "audio" / "whisper_words"
    described = json.loads((audio / "transcripts.json").read_text("utf-8"))["clips"]
    named = {clip["file"]: clip for clip in described if clip["kind"] == "short"}
    return {
        name: read_sound(audio / name) for name in named if name in ("en_02.flac", "en_07.flac", "de_00.flac")
    }


def rows(sounds: list[Any], *decodings: Decoding) -> dict[str, Any]:
    samples = np.zeros((len(sounds), MAX_SAMPLES), np.float32)
    for row, sound in enumerate(sounds):
        samples[row, : len(sound)] = sound
    asked = np.empty(len(sounds), object)
    asked[:] = list(decodings) * (len(sounds) if len(decodings) == 1 else 1)
    return {"samples": samples, "num_samples": np.array([len(s) for s in sounds]), "decoding": asked}


def test_languages_and_word_signs_are_those_of_faster_whisper() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    assert set(tokenizer._LANGUAGE_CODES) == LANGUAGES
    from faster_whisper import WhisperModel

    defaults = inspect.signature(WhisperModel.transcribe).parameters
    assert defaults["prepend_punctuations"].default == whisper._BEFORE_WORDS
    assert defaults["append_punctuations"].default == whisper._AFTER_WORDS


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        ([100, 7, 150], [(0.0, 1.0, [7])]),
        ([100, 7, 150, 160, 8, 175], [(0.0, 1.0, [7]), (1.2, 1.5, [8])]),
        ([100, 7, 150, 150], [(0.0, 1.0, [7])]),
        ([100, 7, 150, 150, 8], [(0.0, 1.0, [7]), (1.0, 4.0, [8])]),  # cut off before the last time
        ([7, 8], [(0.0, 4.0, [7, 8])]),  # without any time
        ([100], []),
        ([], []),
    ],
)
def test_text_is_split_at_time_tokens(tokens: list[int], spans: list[tuple[float, float, list[int]]]) -> None:
    pieces = _split(tokens, FIRST_TIME, 4.0)
    found = [(p["start"], p["end"], [t for t in p["tokens"] if t < FIRST_TIME]) for p in pieces]
    assert [text for *_, text in found] == [text for *_, text in spans]
    for (start, end, _), (wanted_start, wanted_end, _) in zip(found, spans, strict=True):
        assert (start, end) == pytest.approx((wanted_start, wanted_end))


def test_a_passage_gives_what_the_batched_pipeline_gives(
    folder: Path, runner: WhisperRunner, sounds: dict[str, Any]
) -> None:
    import faster_whisper

    model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    batched = faster_whisper.BatchedInferencePipeline(model)
    for name, sound in sounds.items():
        language = name[:2]
        segments, _ = batched.transcribe(
            sound,
            language=language,
            word_timestamps=True,
            without_timestamps=False,
            clip_timestamps=[{"start": 0, "end": len(sound) / 16_000}],
        )
        heard: Transcription = runner.run(rows([sound], Decoding(language=language)))["transcription"][0]
        for span, segment in zip(heard.spans, list(segments), strict=True):
            assert span.text == segment.text.strip() and span.words is not None
            assert (span.start_seconds, span.end_seconds) == pytest.approx(
                (segment.start, segment.end), abs=0.02
            )
            assert heard.avg_logprob == pytest.approx(segment.avg_logprob, abs=1e-4)
            assert heard.no_speech_prob == pytest.approx(segment.no_speech_prob, abs=1e-4)
            theirs = [(w.word.strip(), w.start, w.end, w.probability) for w in segment.words]
            ours = [(w.text, w.start_seconds, w.end_seconds, w.probability) for w in span.words]
            assert [w[0] for w in ours] == [w[0] for w in theirs]
            assert np.allclose([w[1:] for w in ours], [w[1:] for w in theirs], atol=1e-3)


def same(first: Transcription, second: Transcription) -> bool:
    """Equal but for the last digits, which the order of sums decides."""
    words = [[(w.text, w.start_seconds, w.end_seconds) for w in s.words or ()] for s in first.spans]
    others = [[(w.text, w.start_seconds, w.end_seconds) for w in s.words or ()] for s in second.spans]
    return (
        words == others
        and first.language == second.language
        and first.avg_logprob == pytest.approx(second.avg_logprob, abs=1e-4)
    )


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_neighbours(
    folder: Path, runner: WhisperRunner, sounds: dict[str, Any]
) -> None:
    """Also not in one batch of the decoder, as on a GPU, with languages mixed, known and detected."""
    names = [*sounds, *sounds]
    decodings = [Decoding(language=n[:2] if i < 3 else "") for i, n in enumerate(names)]
    inputs = rows([sounds[name] for name in names], *decodings)
    alone = [runner.run({k: v[i : i + 1] for k, v in inputs.items()})["transcription"][0] for i in range(6)]
    together = runner.run(inputs)["transcription"]
    in_one_batch = WhisperRunner("batched", runner._whisper, 16, 0).run(inputs)["transcription"]
    for i in range(6):
        assert same(alone[i], together[i]) and same(alone[i], in_one_batch[i])
        assert alone[i].language == names[i][:2]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("CUDA failed with error out of memory", DeviceFullError),
        ("CUDA failed with error an illegal memory access was encountered", DeviceLostError),
        ("unsupported", ModelError),
    ],
)
def test_a_batch_that_does_not_fit_a_device_is_halved(
    runner: WhisperRunner,
    sounds: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    kind: type[ModelError],
) -> None:
    inner, sizes = runner._whisper, []
    encode = inner.encode

    def limited(features: Any) -> Any:
        sizes.append(len(features))
        if len(features) > 1:
            raise RuntimeError(words)
        return encode(features)

    monkeypatch.setattr(inner, "encode", limited)
    on_device = WhisperRunner("small", inner, 4, 0)
    inputs = rows(list(sounds.values()), Decoding(language="en", beam_size=1))
    if kind is not DeviceFullError:
        with pytest.raises(kind) as told:
            on_device.run(inputs)
        assert told.type is kind and sizes == [3] and on_device.max_batch == 4
        return
    found = on_device.run(inputs)["transcription"]
    monkeypatch.undo()
    assert all(same(a, b) for a, b in zip(found, runner.run(inputs)["transcription"], strict=True))
    assert (on_device.max_batch, on_device.num_halved) == (1, 1) and sizes == [3, 1, 2, 1, 1]


def test_calls_of_many_threads_are_joined(runner: WhisperRunner, sounds: dict[str, Any]) -> None:
    batcher = Batcher(WhisperRunner("batched", runner._whisper, 8, 0), 8, 0.2)
    inputs = [rows([sound], Decoding(beam_size=1)) for sound in sounds.values()]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(batcher.run, inputs))
    batcher.close()
    assert batcher.stats().num_batches < 3
    for one, joined in zip(inputs, found, strict=True):
        assert same(runner.run(one)["transcription"][0], joined["transcription"][0])


def test_options_are_heeded(runner: WhisperRunner, sounds: dict[str, Any]) -> None:
    sound = sounds["en_07.flac"]
    plain, bare, hinted, unrepeated = runner.run(
        rows(
            [sound] * 4,
            Decoding(),
            Decoding(word_times=False),
            Decoding(hotwords="water water water", initial_prompt="zero"),
            Decoding(no_repeat_tokens=1),
        )
    )["transcription"]
    assert all(span.words for span in plain.spans)
    assert all(span.words is None for span in bare.spans)
    assert [s.text for s in bare.spans] == [s.text for s in plain.spans]
    assert hinted.avg_logprob != plain.avg_logprob
    words = " ".join(span.text for span in unrepeated.spans).split()
    assert len(words) == len(set(words))


def test_the_task_is_part_of_the_prompt(runner: WhisperRunner, sounds: dict[str, Any]) -> None:
    """A model that was taught to translate is asked to; its language is that of the sound."""
    token = runner._whisper.hf_tokenizer.token_to_id
    for task in TASKS:
        prompt = runner._prompt(runner._tokenizer("de", task), Decoding(task=task, hotwords="null"))
        assert prompt[-3:] == [token("<|startoftranscript|>"), token("<|de|>"), token(f"<|{task}|>")]
        heard = runner.run(rows([sounds["de_00.flac"]], Decoding(task=task)))["transcription"][0]
        assert heard.language == "de"


def test_sound_of_ten_milliseconds_and_silence_do_no_harm(runner: WhisperRunner) -> None:
    for sound in (np.full(160, 0.1, np.float32), np.zeros(MAX_SAMPLES, np.float32), np.zeros(1, np.float32)):
        heard = runner.run(rows([sound], Decoding(language="en")))["transcription"][0]
        assert np.isfinite([heard.avg_logprob, heard.no_speech_prob]).all()


def test_a_language_the_model_lacks_is_named(runner: WhisperRunner, sounds: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="knows no language 'qq'"):
        runner.run(rows([sounds["en_07.flac"]], Decoding(language="qq")))


def test_a_folder_that_is_no_model_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"lacks model.bin, tokenizer.json, vocabulary.json or vocabulary.txt"
    ):
        resolve("transcript", str(tmp_path))
    with pytest.raises(ModelError, match=r"lacks config.json, model.bin"):
        resolve("transcript", str(tmp_path / "absent"))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.bin").chmod(0o644)
    (broken / "model.bin").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be opened"):
        open_model(resolve("transcript", str(broken)), broken, 1)


def test_a_provider_that_is_not_there_is_an_error(folder: Path) -> None:
    entry = resolve("transcript", str(folder))
    with pytest.raises(ProviderError, match="coreml: CTranslate2 does not know it"):
        open_model(entry, folder, 1, "coreml")
    model, report = open_model(entry, folder, 1, "cpu")
    assert report.provider == "cpu" and model.runner.max_batch == 1 and model.entry is entry


def test_without_its_cublas_it_runs_on_the_cpu_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(
        whisper.cuda, "load_cublas_for_ctranslate2", lambda: "libcublas.so.12 cannot be loaded"
    )
    entry = resolve("transcript", str(folder))
    _, report = open_model(entry, folder, 1)
    assert report.provider == "cpu" and report.attempts[0] == ("cuda", "libcublas.so.12 cannot be loaded")
    with pytest.raises(ProviderError, match="must run on cuda, but cuda: libcublas"):
        open_model(entry, folder, 1, "cuda")


def test_its_part_of_the_devices_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CT2_CUDA_CACHING_ALLOCATOR_CONFIG", raising=False)
    monkeypatch.setattr(whisper.cuda, "load_cublas_for_ctranslate2", lambda: "")
    monkeypatch.setattr(whisper.cuda, "find_gpus", lambda: (Gpu("a", "sm90", 24 << 30),))
    assert whisper._prepare_cuda(folder) == ""
    kept = int(whisper.os.environ["CT2_CUDA_CACHING_ALLOCATOR_CONFIG"].split(",")[3])
    part = plan_memory(24 << 30).ctranslate2
    assert 0 < kept < part
    monkeypatch.delenv("CT2_CUDA_CACHING_ALLOCATOR_CONFIG")
    with (folder / "model.bin").open("rb") as weights:
        size = weights.seek(0, 2)
    small = plan_memory(24 << 30)
    monkeypatch.setattr(whisper, "plan_memory", lambda device: replace(small, ctranslate2=size))
    assert f"needs about {2 * size} bytes of device memory, but its part is {size}" == whisper._prepare_cuda(
        folder
    )
