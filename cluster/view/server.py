"""The pages of a report over a result folder as it is now, served to this machine's own browser."""

from __future__ import annotations

import mimetypes
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view import api
from framemill.cluster.view.guard import Guard
from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.stills import Box
from framemill.errors import UsageError

HOST = "127.0.0.1"
_STATIC = Path(__file__).resolve().parent / "static"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Framemill</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static/page.css">
<link rel="stylesheet" href="static/view/view.css">
<script type="module" src="static/view.js"></script>
</head>
<body><noscript>This page draws itself with scripts: allow them for it.</noscript></body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A server that listens already.

    Attributes:
        url: to be opened; it holds the token. Whoever has it, on this machine, sees the files.
    """

    url: str
    _pages: ASGIApp
    _socket: socket.socket
    _folder: LiveFolder

    def serve(self) -> None:
        """Serves until a signal ends it, which is then raised again as whoever called handles it."""
        import uvicorn

        # A video that is being played holds its connection open: no reason to stay.
        config = uvicorn.Config(
            self._pages, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        try:
            with self._socket:
                uvicorn.Server(config).run(sockets=[self._socket])
        finally:
            self._folder.close()


def open_viewer(dataset: Dataset, port: int = 0) -> Viewer:
    """Listens on this machine's own address.

    Args:
        port: 0 takes one that is free.

    Raises:
        UsageError: the port is taken, or not for this user.
    """
    # Arrow's own pool keeps a hundred megabytes of what was read once, the system's does not (measured).
    pa.set_memory_pool(pa.system_memory_pool())
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # before the address is told: a browser may ask sooner than the server runs
    except OSError as exc:
        listening.close()
        raise UsageError(
            f"port {port} cannot be had: {exc.strerror}; take another, or 0 for one that is free"
        ) from exc
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(32)
    folder = LiveFolder(dataset)
    pages = make_pages(folder, port, token)
    return Viewer(f"http://{HOST}:{port}/?token={token}", pages, listening, folder)


def make_pages(folder: LiveFolder, port: int, token: str) -> ASGIApp:
    """What is served: the page, its data, stills and files by content id; all behind a `Guard`."""

    async def page(request: Request) -> Response:
        return HTMLResponse(_PAGE)

    # Functions without `async` run on threads, so that reading tables holds nothing else up.
    def still(request: Request) -> Response:
        box = _box(request.query_params.get("face"))
        picture = folder.still(request.path_params["source"], request.path_params["frame"], box)
        if picture is None:
            return PlainTextResponse("There is no such picture.", 404)
        # The same content gives the same picture for as long as the page is open.
        return Response(picture, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    async def media(request: Request) -> Response:
        path = await run_in_threadpool(folder.media, request.path_params["source"])
        if not path:
            return PlainTextResponse("There is no such file, or it was changed or moved.", 404)
        # Of a name's ending only what plays: a file called .html must not become a page of this server.
        kind = mimetypes.guess_type(path)[0] or ""
        plays = kind.startswith(("video/", "audio/"))
        return FileResponse(path, media_type=kind if plays else "application/octet-stream")

    routes = [
        Route("/", page),
        *api.routes(folder),
        Route("/stills/{source}/{frame:int}", still),
        Route("/media/{source}", media),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    return Guard(Starlette(routes=routes), port, token)


def _box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError as exc:
        raise HTTPException(404, "There is no such picture.") from exc
    return x0, y0, x1, y1
