"""A caption server that is away, slow, lies or answers rubbish; and to whom anything is sent at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.caption_prompts import Caption
from framemill.cluster.corpus.caption_server import Address, CaptionServer
from framemill.cluster.results.dataset import Dataset
from tests.cluster.corpus.captioned import broken, caption, described, folder, rows
from tests.cluster.corpus.scripted_model import Reply, serving
from tests.cluster.results.hand_made import make_folder


@pytest.fixture
def out(tmp_path: Path) -> Dataset:
    return folder(tmp_path / "out")


@pytest.mark.parametrize(
    ("reply", "error", "attempts"),
    [
        (Reply(status=500), "refused", 2),
        (Reply(status=429, headers={"Retry-After": "0"}), "refused", 2),
        (Reply(status=400, body=b"no \x1b[31msuch model"), "refused", 1),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/v1"}), "refused", 1),
        (Reply("I see a car."), "invalid", 2),
        (Reply('{"caption": 7}'), "invalid", 2),
        (Reply('{"caption": " \\n\\u0000 "}'), "invalid", 2),
        (Reply('{"caption": "' + "x" * 5000 + '"}'), "invalid", 2),
        (Reply('{"caption": "\\ud800'), "invalid", 2),
        (Reply(body=b""), "invalid", 2),
        (Reply(body=b"\xff\xfe"), "invalid", 2),
        (Reply(body=b"[" * 100_000), "invalid", 2),
        (Reply(body=b'{"choices": []}'), "invalid", 2),
        (Reply(body=b'{"choices": [{"message": {"content": null}}]}'), "invalid", 2),
        (Reply(body=b"x" * (3 << 20)), "invalid", 2),
        (Reply(finish="length"), "invalid", 2),
        (Reply(breaks_off=True), "unreachable", 2),
        (Reply(wait=30), "timeout", 2),
        (Reply(drip=0.3), "timeout", 2),
    ],
)
def test_a_bad_answer_says_why(
    reply: Reply, error: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framemill.cluster.corpus.caption_server.PAUSE_SECONDS", 0.01)
    begin = time.monotonic()
    with (
        serving(lambda *_: reply) as model,
        CaptionServer(Address.parse(model.address), "m", timeout_seconds=0.5, attempts=2) as server,
    ):
        answer = server.ask([{"type": "text", "text": "?"}], Caption)
        assert answer.error is not None and answer.value is None
        assert (answer.error.kind, answer.attempts) == (error, attempts)
        assert answer.error.message.isprintable() and len(answer.error.message) < 400
        model.script = described
        well = server.ask([{"type": "image_url", "image_url": {"url": "data:,"}}], Caption)
        assert well.value is not None and well.attempts == 1
    assert time.monotonic() - begin < 10


def test_a_shot_without_an_answer_is_a_row_that_says_why_and_is_asked_for_again(out: Dataset) -> None:
    with serving(
        lambda question, number: (
            Reply("I see a car.") if "word1" in question.prompt else described(question, number)
        )
    ) as model:
        assert caption(out, model, "--attempts", "1") == 3
        assert [row["status"] for row in rows(out)] == ["ok", "failed", "ok"]
        row = rows(out)[1]
        assert (row["error"], row["attempts"], row["text"], row["tags"]) == ("invalid", 1, None, None)
        assert rows(out, "summaries")[0]["num_captions"] == 2 and not broken(out)
        model.script = described
        assert caption(out, model) == 0 and rows(out, "summaries")[0]["num_captions"] == 3
        assert len(model.asked) == 4 + 2
    assert [row["status"] for row in rows(out)] == ["ok"] * 3 and not broken(out)


def test_a_failure_that_passes_costs_an_attempt(out: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framemill.cluster.corpus.caption_server.PAUSE_SECONDS", 0.01)
    with serving(
        lambda q, n: Reply(status=503) if n <= 2 else Reply("not yet") if n == 3 else described(q, n)
    ) as model:
        assert caption(out, model, "--concurrency", "1", "--no-summaries") == 0
    assert [row["attempts"] for row in rows(out)] == [4, 1, 1]
    assert rows(out)[0]["tokens_in"] == 200  # the rubbish is paid for as well
    assert [q.body["temperature"] for q in model.asked[:4]] == [0, 0, 0, 0.5]


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"caption": "A car.", "tags": []}\n```',
        '<think>{"caption": "no"}</think>{"caption": "A  car.\\u0007"}',
        'Here: {"caption": "A\\ncar.", "more": 1}',
    ],
)
def test_json_is_found_in_what_models_put_around_it(out: Dataset, text: str) -> None:
    with serving(lambda *_: Reply(text)) as model:
        caption(out, model, "--no-summaries")
    assert {row["text"] for row in rows(out)} == {"A car."}


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -1, "completion_tokens": "9"}, [1], "x", {"prompt_tokens": 1e99}]
)
def test_counts_that_are_none_are_null(out: Dataset, usage: object) -> None:
    with serving(lambda *_: Reply(usage=usage)) as model:
        assert caption(out, model, "--no-summaries", "--price-in", "1") == 0
    assert {(row["tokens_in"], row["tokens_out"], row["cost"]) for row in rows(out)} == {(None, None, None)}


def test_a_server_that_is_away_costs_rows_and_is_left_alone_after_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder(tmp_path / "many", num_sources=10, num_shots=10)
    with serving(described) as model:
        pass  # it was there, and is gone
    assert caption(out, model, "--attempts", "1", "--concurrency", "4") == 3
    found = rows(out)
    kinds = [row["error"] for row in found]
    assert len(found) == 100 and set(kinds) == {"unreachable", "not_asked"} and kinds.count("not_asked") > 50
    assert {row["attempts"] for row in found if row["error"] == "not_asked"} == {0}
    assert "the rest was not asked" in capsys.readouterr().err


def test_questions_that_are_refused_for_themselves_do_not_end_the_asking(tmp_path: Path) -> None:
    out = folder(tmp_path / "many", num_sources=3, num_shots=10)
    with serving(lambda *_: Reply(status=400, body=b"too long")) as model:
        assert caption(out, model, "--concurrency", "2") == 3 and len(model.asked) == 30
    assert {(row["error"], row["message"]) for row in rows(out)} == {("refused", "HTTP 400: 'too long'")}


def test_an_answer_stays_until_a_better_one_is_there(out: Dataset) -> None:
    with serving(described) as model:
        caption(out, model)
        before = rows(out)
        model.script = lambda *_: Reply(status=400)
        assert caption(out, model, name="other") == 3
    assert rows(out) == before


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    out: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAMEMILL_CAPTIONS_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with serving(lambda asked, _: Reply(status=401, body=asked.headers["Authorization"].encode())) as model:
        caption(out, model)
        assert {q.headers["Authorization"] for q in model.asked} == {"Bearer sk-secret"}
        model.asked.clear()
        caption(out, model, "--key-from", "OPENAI_API_KEY")
        assert {q.headers["Authorization"] for q in model.asked} == {"Bearer sk-other"}
        assert caption(out, model, "--key-from", "NOT_SET_AT_ALL") == 2
    said = capsys.readouterr()
    stored = b"".join(path.read_bytes() for path in Path(str(out.root)).rglob("*") if path.is_file())
    assert "sk-" not in said.out + said.err and b"sk-" not in stored
    assert {row["message"] for row in rows(out)} == {"HTTP 401: 'Bearer ...'"}


@pytest.mark.parametrize(
    "address",
    ["localhost:8000", "ftp://h/v1", "http://", "http://u:p@h/v1", "http://h/v1?x=1", "http://h:99999/"],
)
def test_an_address_that_is_none_is_refused(
    out: Dataset, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["captions", str(out.root), "--address", address, "--model", "m"]) == 2
    assert "address" in capsys.readouterr().err


def test_an_address_that_others_can_listen_to_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder(tmp_path / "out", num_shots=1)
    line = ["captions", str(out.root), "--model", "m", "--attempts", "1", "--timeout", "0.2"]
    assert main([*line, "--address", "http://192.0.2.1/v1"]) == 3
    assert "not encrypted" in capsys.readouterr().err
    assert main([*line, "--address", "http://127.0.0.1:9/v1"]) == 3
    assert "not encrypted" not in capsys.readouterr().err
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    assert main([*line, "--address", "https://192.0.2.1/v1"]) == 5


def test_no_proxy_of_the_environment_is_used(out: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(described) as model:
        assert caption(out, model) == 0


def test_files_that_are_gone_are_told_of_and_nothing_is_asked(tmp_path: Path) -> None:
    scene = {"scene_index": 0, "start_seconds": 0.0, "end_seconds": 1.0, "start_frame": 0, "end_frame": 9}
    out = make_folder(tmp_path / "out", {"scenes": {"a": [{**scene, "transition": "start", "score": 0.0}]}})
    with serving(described) as model:
        assert caption(out, model) == 3 and not model.asked
    (row,) = rows(out)
    assert (row["error"], row["attempts"], row["frames"]) == ("no_picture", 0, [])
