"""Who may ask a server of pages: this machine's own browser that was given the token, and nobody else."""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Answers 421 to another Host, 403 without the token, 405 to what does not read; else asks the pages.

    The Host is checked because a foreign page may give its own name this machine's address. The token comes
    once in the address, `/?token=...`, and then stays in a cookie that scripts and other sites cannot use.

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

        answer = self._answer(Request(scope)) or self._pages
        await answer(scope, receive, send_guarded)

    def _answer(self, request: Request) -> Response | None:
        """What is answered in place of the pages."""
        if request.headers.getlist("host") not in [[host] for host in self._hosts]:
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost only.", 421)
        given = request.query_params.get("token")
        if not self._is_token(given if given is not None else request.cookies.get(self._cookie, "")):
            return PlainTextResponse("Open the address that framemill view printed: it holds a token.", 403)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("This server is only read.", 405, {"Allow": "GET, HEAD"})
        if given is None:
            return None
        answer = RedirectResponse(request.url.path, 303)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return answer

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())
