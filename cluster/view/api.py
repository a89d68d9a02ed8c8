"""The viewer's data over HTTP: questions in the query of an address or a JSON body, answers in JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from framemill.cluster.results.sql_process import query_bounded
from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.page_rows import plain
from framemill.cluster.view.shot_filters import parse_filter
from framemill.errors import FramemillError, LeaseError, UsageError

PAGE_ROWS, MOST_ROWS = 60, 500  # of a page, and at most of one
SQL_ROWS, MOST_SQL_ROWS = 200, 10_000  # unless a question says how many, and at most
SQL_SECONDS = 60.0
LEAST_NUMBER_BEYOND = float(1 << 53)  # of positions and seconds, which are whole or exact below it

Handler = Callable[[Request], Any]


class _Statement(msgspec.Struct, frozen=True):
    """The body of a question in SQL."""

    sql: str
    limit: int = SQL_ROWS


class _Tagging(msgspec.Struct, frozen=True):
    """The body of a change of tags; shots are content id and position."""

    tag: str
    shots: list[tuple[str, int]]
    on: bool = True


class _Naming(msgspec.Struct, frozen=True):
    """The body of a change of a name; an empty one takes it away."""

    name: str


class NothingThereError(UsageError):
    """What is asked for is not in the folder."""


_STATUSES = {NothingThereError: 404, UsageError: 400, LeaseError: 409, FramemillError: 500}


def routes(folder: LiveFolder) -> Sequence[BaseRoute]:
    """Everything under `/api`."""

    def overview(request: Request) -> Any:
        return folder.overview()

    def shots(request: Request) -> Any:
        sort = request.query_params.get("sort", "file")
        return folder.shots(_filter(request), sort, *_page(request))

    def facets(request: Request) -> Any:
        return folder.facets(_filter(request))

    def files(request: Request) -> Any:
        return folder.files(_filter(request), *_page(request))

    def file(request: Request) -> Any:
        return _there(folder.file(request.path_params["source"]), "file")

    def boxes(request: Request) -> Any:
        start, end = _number(request, "start", 0.0), _number(request, "end", 10.0)
        return folder.boxes(request.path_params["source"], start, end)

    def similar(request: Request) -> Any:
        source = request.query_params.get("source", "")
        frame = int(_number(request, "frame", 0))
        try:
            return folder.similar(source, frame, _page(request)[1])
        except UsageError as exc:
            raise NothingThereError(str(exc)) from exc

    def errors(request: Request) -> Any:
        return folder.errors(*_page(request))

    def sql(request: Request, asked: _Statement) -> Any:
        if not 0 < asked.limit <= MOST_SQL_ROWS:
            raise UsageError(f"limit {asked.limit}: ask for 1 to {MOST_SQL_ROWS:,} rows")
        found = query_bounded(folder.root, asked.sql, asked.limit + 1, SQL_SECONDS)
        rows = [[plain(value) for value in row] for row in found.rows[: asked.limit]]
        return {"columns": found.columns, "rows": rows, "more": len(found.rows) > asked.limit}

    def tag(request: Request, asked: _Tagging) -> Any:
        return folder.tag(asked.tag, asked.shots, asked.on)

    def name(request: Request, asked: _Naming) -> Any:
        return folder.name_person(request.path_params["person"], asked.name)

    return [
        Route("/api/overview", _answering(overview)),
        Route("/api/shots", _answering(shots)),
        Route("/api/facets", _answering(facets)),
        Route("/api/files", _answering(files)),
        Route("/api/files/{source}", _answering(file)),
        Route("/api/boxes/{source}", _answering(boxes)),
        Route("/api/similar", _answering(similar)),
        Route("/api/people", _answering(lambda request: folder.people())),
        Route("/api/duplicates", _answering(lambda request: folder.duplicates())),
        Route("/api/errors", _answering(errors)),
        Route("/api/runs", _answering(lambda request: folder.runs())),
        Route("/api/sequence", _answering(lambda request: folder.state())),
        Route("/api/people/{person}", _answering_body(name, _Naming), methods=["POST"]),
        Route("/api/tags", _answering(lambda request: folder.tags())),
        Route("/api/tags", _answering_body(tag, _Tagging), methods=["POST"]),
        Route("/api/sql", _answering_body(sql, _Statement), methods=["POST"]),
    ]


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        # On a thread, so that reading tables holds nothing else up.
        return await run_in_threadpool(_json, handler, request)

    return answer


def _answering_body(
    handler: Callable[[Request, Any], Any], kind: type[msgspec.Struct]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_json, lambda asked: handler(asked, _body(body, kind)), request)

    return answer


def _json(handler: Callable[[Any], Any], asked: Any) -> Response:
    start = time.perf_counter()
    status = 200
    try:
        told = handler(asked)
        told["ms"] = round((time.perf_counter() - start) * 1000, 1)
    except FramemillError as exc:
        status = next(code for kind, code in _STATUSES.items() if isinstance(exc, kind))
        told = {"error": str(exc)}
    text = json.dumps(told, separators=(",", ":"), allow_nan=False, default=str)
    return Response(text, status, media_type="application/json")


def _filter(request: Request) -> Any:
    return parse_filter(request.query_params.get("filter", ""))


def _page(request: Request) -> tuple[int, int]:
    """Offset and limit."""
    offset, limit = _number(request, "offset", 0), _number(request, "limit", PAGE_ROWS)
    if not (0 <= offset < 1 << 40 and 0 < limit <= MOST_ROWS):
        raise UsageError(f"offset {offset:g} and limit {limit:g}: ask for 1 to {MOST_ROWS} rows from 0 on")
    return int(offset), int(limit)


def _number(request: Request, name: str, otherwise: float) -> float:
    text = request.query_params.get(name, "")
    try:
        number = float(text) if text else otherwise
    except ValueError as exc:
        raise UsageError(f"{name} {text!r} is no number") from exc
    if not abs(number) < LEAST_NUMBER_BEYOND:
        raise UsageError(f"{name} {text!r} is beyond what there is; give one from -2**53 to 2**53")
    return number


def _body(body: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise UsageError(f"what was sent is not understood: {exc}") from exc


def _there(found: Any, what: str) -> Any:
    if found is None:
        raise NothingThereError(f"there is no such {what}")
    return found
