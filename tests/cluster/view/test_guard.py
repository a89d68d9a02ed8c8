"""Who may write through a server of pages: its own pages, with the token, in JSON of a bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from framemill.cluster.view.guard import MAX_BODY_BYTES, Guard

PORT, TOKEN = 5005, "a-token"
HOST = f"127.0.0.1:{PORT}"
OWN = {"Origin": f"http://{HOST}"}
JSON = {"Content-Type": "application/json"}


class Pages:
    """Echoes, and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[Any] = []

    async def echo(self, request: Request) -> JSONResponse:
        self.reached.append(await request.json())
        return JSONResponse({"given": self.reached[-1]})

    def app(self) -> Guard:
        routes = [
            Route("/api/tags", self.echo, methods=["GET", "POST"]),
            Route("/api/shots", self.echo),
            Route("/page", self.echo, methods=["GET", "POST"]),
        ]
        return Guard(Starlette(routes=routes), PORT, TOKEN)


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def guest(pages: Pages) -> TestClient:
    client = TestClient(pages.app(), base_url=f"http://{HOST}", follow_redirects=False)
    client.cookies.set(f"framemill_{PORT}", TOKEN)
    return client


def test_an_own_page_writes(guest: TestClient) -> None:
    answer = guest.post("/api/tags", json={"tag": "keep"}, headers=OWN)
    assert (answer.status_code, answer.json()) == (200, {"given": {"tag": "keep"}})
    with_charset = {**OWN, "Content-Type": "Application/JSON; charset=utf-8"}
    assert guest.post("/api/tags", content="[1]", headers=with_charset).json() == {"given": [1]}


def test_an_own_page_at_localhost_writes_and_the_two_names_are_two_origins(guest: TestClient) -> None:
    named = {"Host": f"localhost:{PORT}", "Cookie": f"framemill_{PORT}={TOKEN}"}
    own = {**named, "Origin": f"http://localhost:{PORT}"}
    assert guest.post("/api/tags", json=1, headers=own).status_code == 200
    assert guest.post("/api/tags", json=1, headers={**named, **OWN}).status_code == 403


def test_a_request_that_hides_its_origin_writes_only_where_the_browser_calls_it_the_same(
    guest: TestClient, pages: Pages
) -> None:
    assert guest.post("/api/tags", json=1, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for site in ("same-site", "cross-site", "none", ""):
        assert guest.post("/api/tags", json=2, headers={"Sec-Fetch-Site": site}).status_code == 403, site
    assert guest.post("/api/tags", json=2).status_code == 403
    assert pages.reached == [1]


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", f"https://{HOST}", "http://127.0.0.1", f"http://127.0.0.1:{PORT + 1}"),
        *(f"http://{HOST}.evil", "http://evil.example", f"http://{HOST}/"),
    ],
)
def test_another_origin_is_refused_whatever_else_it_says(
    guest: TestClient, pages: Pages, origin: str
) -> None:
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    answer = guest.post("/api/tags", json=1, headers=headers)
    assert answer.status_code == 403 and "Origin" in answer.json()["error"]
    assert pages.reached == []


def test_two_origins_are_none(guest: TestClient) -> None:
    both = [("Origin", f"http://{HOST}"), ("Origin", "http://evil.example")]
    assert guest.post("/api/tags", json=1, headers=both).status_code == 403


def test_writing_takes_the_cookie_and_not_the_address(pages: Pages) -> None:
    stranger = TestClient(pages.app(), base_url=f"http://{HOST}", follow_redirects=False)
    answer = stranger.post("/api/tags", params={"token": TOKEN}, json=1, headers=OWN)
    assert answer.status_code == 403 and "token" in answer.json()["error"]
    stranger.cookies.set(f"framemill_{PORT}", "b-token")
    assert stranger.post("/api/tags", json=1, headers=OWN).status_code == 403
    assert pages.reached == []


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json"],
)
def test_what_forms_can_send_is_refused(guest: TestClient, pages: Pages, kind: str) -> None:
    answer = guest.post("/api/tags", content='{"tag": "keep"}', headers={**OWN, "Content-Type": kind})
    assert answer.status_code == 415 and "application/json" in answer.json()["error"]
    assert pages.reached == []


def test_only_what_lies_below_api_is_written(guest: TestClient, pages: Pages) -> None:
    for path in ("/page", "/", "/api", "//api/tags"):
        assert guest.post(path, json=1, headers=OWN).status_code == 405, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = guest.request(method, "/api/tags", json=1, headers=OWN)
        assert answer.status_code == 405 and answer.json()["error"], method
    assert guest.post("/api/shots", json=1, headers=OWN).status_code == 405
    assert pages.reached == []


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(guest: TestClient, pages: Pages) -> None:
    fits = b'"' + b"x" * (MAX_BODY_BYTES - 2) + b'"'
    assert guest.post("/api/tags", content=fits, headers={**OWN, **JSON}).status_code == 200
    answer = guest.post("/api/tags", content=fits + b" ", headers={**OWN, **JSON})
    assert answer.status_code == 413 and str(MAX_BODY_BYTES) in answer.json()["error"]
    assert len(pages.reached) == 1


def test_a_body_of_untold_length_is_read_no_further_than_the_limit(guest: TestClient, pages: Pages) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * (1 << 16)

    answer = guest.post("/api/tags", content=endless(), headers={**OWN, **JSON})
    assert answer.status_code == 413 and pages.reached == []


def test_half_a_request_reaches_no_page_and_is_not_answered(pages: Pages) -> None:
    messages = [
        {"type": "http.request", "body": b"1", "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = {**OWN, **JSON, "Host": HOST, "Cookie": f"framemill_{PORT}={TOKEN}"}
    scope = {
        "type": "http", "method": "POST", "path": "/api/tags", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    answers: list[Any] = []
    asyncio.run(pages.app()(scope, receive, send))
    assert pages.reached == [] and answers == []
