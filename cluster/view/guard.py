"""Who may ask a server of pages: this machine's own browser that was given the token, and nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
API = "/api/"  # below it answers are JSON, and something may be written
MAX_BODY_BYTES = 1 << 20
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Lets through to the pages what this machine's own browser, given the token, asks of itself.

    All else is answered here: 421 to another Host, 403 without the token, 405 to a method that is not served.
    The Host is checked because a foreign page may give its own name this machine's address. The token comes
    once in the address, `/?token=...`, and then stays in a cookie that scripts and other sites cannot use.

    What writes is a POST below `/api/`, and has to show more, since a foreign page may send forms to any
    address: the cookie, an Origin that is ours (403), JSON (415), and at most `MAX_BODY_BYTES` of it (413).

    Args:
        pages: what is guarded.
        port: that is listened on; its cookie is named by it, since browsers share cookies among ports.
        token: what the address has to hold.
    """

    def __init__(self, pages: ASGIApp, port: int, token: str) -> None:
        self._pages = pages
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"framemill_{port}"
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope, receive)
        answer = self._answer(request)
        if answer is None and request.method == "POST":
            try:
                body = await _read_body(request)
            except ClientDisconnect:
                return  # nobody reads what is answered, and half a request is none
            if body is None:
                answer = _refuse(request, 413, f"A body has at most {MAX_BODY_BYTES} bytes.")
            else:
                receive = _replay(body, receive)
        await (answer or self._pages)(scope, receive, send_guarded)

    def _answer(self, request: Request) -> Response | None:
        """What is answered in place of the pages."""
        if request.headers.getlist("host") not in [[host] for host in self._hosts]:
            return _refuse(request, 421, "This server answers to 127.0.0.1 and localhost only.")
        is_writing = request.method == "POST"
        given = None if is_writing else request.query_params.get("token")
        if not self._is_token(given if given is not None else request.cookies.get(self._cookie, "")):
            return _refuse(request, 403, "Open the address that framemill view printed: it holds a token.")
        if is_writing and request.scope["path"].startswith(API):
            return _judge_writing(request)
        if request.method not in ("GET", "HEAD"):
            return _refuse(request, 405, "This is only read.", {"Allow": "GET, HEAD"})
        if given is None:
            return None
        answer = RedirectResponse(request.url.path, 303)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return answer

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())


def _judge_writing(request: Request) -> Response | None:
    """Why a POST with the right Host and cookie is refused; None where it is not."""
    origins = request.headers.getlist("origin")
    # Browsers name the origin of every POST; one that hides it may still say that it is the same.
    is_own = request.headers.getlist("sec-fetch-site") == ["same-origin"]
    if origins != [f"http://{request.headers['host']}"] if origins else not is_own:
        return _refuse(request, 403, "Only pages of this server write: the Origin is another, or not told.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _refuse(request, 415, f"What is sent has to be application/json, not {kind or 'untold'}.")
    return None


async def _read_body(request: Request) -> bytes | None:
    """The body; None where it is too large, whatever its length is told to be."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the pages receive: the body that was read already, and then what follows."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed


def _refuse(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    if request.scope["path"].startswith(API):
        return JSONResponse({"error": text}, status, headers)
    return PlainTextResponse(text, status, headers)
