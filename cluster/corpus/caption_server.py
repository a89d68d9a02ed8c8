"""A model behind an OpenAI-compatible address: one question, one answer that fits a schema, or why not.

Nothing is sent anywhere but to the address that was named: no redirect is followed and no proxy is used.
"""

from __future__ import annotations

import http.client
import ipaddress
import random
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from framemill.errors import SetupError, UsageError
from framemill.models.download import is_offline

ATTEMPTS = 4
TIMEOUT_SECONDS = 120.0
PAUSE_SECONDS = 0.5  # before the second attempt; each further pause is twice as long
LONGEST_PAUSE_SECONDS = 30.0  # that a server may ask for
MAX_TOKENS = 1024
# An answer of so many tokens has a few kB: what is larger is none.
MAX_BYTES = 1 << 20
# What is wrong with the question: another may well be answered.
_OF_QUESTION = (400, 413, 422)
# A server that is too slow becomes slower by being asked the same over and over.
_TIMEOUTS = 2
_CONNECT_SECONDS = 10.0
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
_WARMER = 0.5  # the same question at temperature 0 would get the same rubbish
_MOST_COUNT = 1 << 40  # of tokens: what is more is no count
_SHOWN = 200

T = TypeVar("T")


class AskError(Exception):
    """No answer.

    Attributes:
        kind: unreachable, timeout, refused (by an HTTP status), invalid (rubbish) or stopped.
        message: what is wrong, in words for a person.
        may_pass: whether asking again may help. pause: seconds that the server asks to wait, >= 0.
        is_of_server: whether it speaks of the server, which will fail at other questions, too.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        may_pass: bool = True,
        pause: float = 0.0,
        is_of_server: bool = False,
    ) -> None:
        super().__init__(kind, message)
        self.kind, self.message, self.may_pass, self.pause = kind, message, may_pass, pause
        self.is_of_server = is_of_server


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, as it was named.

    Attributes:
        host, port, path: of `chat/completions`. is_encrypted: TLS. is_loopback: it is this machine.
    """

    host: str
    port: int
    path: str
    is_encrypted: bool
    is_loopback: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads such as `http://localhost:8000/v1`.

        Raises:
            UsageError: it is no such address.
            SetupError: FRAMEMILL_OFFLINE is set, and it is not this machine.
        """
        try:
            parts = urllib.parse.urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError as exc:
            raise UsageError(f"the address {text!r} is none: {exc}") from exc
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise UsageError(
                f"the address {text!r} is none of a server: give such as http://localhost:8000/v1, up to "
                "what stands before /chat/completions"
            )
        if parts.username is not None or not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
            raise UsageError(
                f"the address of {host} holds a user, a password or characters that no address has: give the "
                "key in the environment variable FRAMEMILL_CAPTIONS_KEY"
            )
        if is_offline() and not _is_loopback(host):
            raise SetupError(f"FRAMEMILL_OFFLINE is set, so {host} is not asked; unset it")
        is_encrypted = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        return cls(host, port or (443 if is_encrypted else 80), path, is_encrypted, _is_loopback(host))

    @property
    def warning(self) -> str:
        """What a person is told of an address that others can listen to; empty where they cannot."""
        if self.is_encrypted or self.is_loopback:
            return ""
        return (
            f"http://{self.host} is not encrypted and not this machine: pictures, words and the key can be "
            "read on the way; use https"
        )


@dataclass(slots=True)
class Answer(Generic[T]):
    """What came of a question.

    Attributes:
        value: that fits the schema; None where there is none. error: why not; None where there is one.
        attempts: requests that were sent, >= 0. seconds: for all of them, pauses included.
        tokens_in, tokens_out: of all attempts, as far as the server counts them; None where it never did.
    """

    value: T | None = None
    error: AskError | None = None
    attempts: int = 0
    seconds: float = 0.0
    tokens_in: int | None = None
    tokens_out: int | None = None

    def join(self, last: Answer[T]) -> None:
        """Takes the outcome of a further question, and adds what it took."""
        self.value, self.error = last.value, last.error
        self.attempts += last.attempts
        self.seconds += last.seconds
        self.spend({"prompt_tokens": last.tokens_in, "completion_tokens": last.tokens_out})

    def spend(self, usage: object) -> None:
        """Adds what an answer says that it took; what is no count is left out."""
        told = usage if isinstance(usage, dict) else {}
        for name, of in (("tokens_in", "prompt_tokens"), ("tokens_out", "completion_tokens")):
            count = told.get(of)
            if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < _MOST_COUNT:
                setattr(self, name, (getattr(self, name) or 0) + count)


@dataclass(slots=True)
class _Call:
    """A request on its way."""

    sock: socket.socket
    deadline: float
    is_overdue: bool = False


@dataclass(slots=True)
class CaptionServer:
    """Asks questions, from any number of threads; use it as a context manager.

    Args:
        address: see `Address.parse`. model: its name there. key: sent as a bearer token; empty for none.
        timeout_seconds: for one whole answer, however slowly it drips. attempts: most requests a question.
    """

    address: Address
    model: str
    key: str = ""
    timeout_seconds: float = TIMEOUT_SECONDS
    attempts: int = ATTEMPTS
    _threads: threading.local = field(default_factory=threading.local)
    _calls: dict[int, _Call] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _tls: ssl.SSLContext | None = None

    def __enter__(self) -> CaptionServer:
        if self.address.is_encrypted:
            self._tls = ssl.create_default_context()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Breaks off what is on its way, so that no thread outlives an interrupt for long."""
        self._stopped.set()
        self._cut(float("inf"))

    def ask(self, content: Sequence[Mapping[str, Any]], form: type[T]) -> Answer[T]:
        """One question, tried again with growing pauses while that may help; never raises for the server.

        Args:
            content: parts of a message, as the interface has them. form: a msgspec structure that the answer
                has to fit.
        """
        answer, begin, slow = Answer[T](), time.monotonic(), 0
        while True:
            if self._stopped.is_set():
                answer.error = AskError("stopped", "the run was ended", may_pass=False)
                break
            is_rubbish = answer.error is not None and answer.error.kind == "invalid"
            answer.attempts += 1
            try:
                answer.value = self._attempt(content, form, _WARMER if is_rubbish else 0.0, answer)
                answer.error = None
                break
            except AskError as error:
                answer.error = error
                slow += error.kind == "timeout"
                if not error.may_pass or slow == _TIMEOUTS or answer.attempts >= self.attempts:
                    break
                grown = PAUSE_SECONDS * 2 ** (answer.attempts - 1) * random.uniform(0.75, 1.25)
                self._stopped.wait(min(LONGEST_PAUSE_SECONDS, max(error.pause, grown)))
        answer.seconds = time.monotonic() - begin
        return answer

    def _attempt(
        self, content: Sequence[Mapping[str, Any]], form: type[T], temperature: float, answer: Answer[T]
    ) -> T:
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": list(content)}],
            "temperature": temperature,
            "max_tokens": MAX_TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": form.__name__, "schema": schema_of(form)},
            },
        }
        status, headers, body = self._post(msgspec.json.encode(request))
        if self.key:  # a server that says it back must not bring it into the table
            body = body.replace(self.key.encode(), b"...")
        if status != 200:
            raise _refusal(status, headers, body)
        try:
            reply = msgspec.json.decode(body)
            choice = reply["choices"][0]
            text = choice["message"]["content"]
        except (msgspec.DecodeError, UnicodeError, LookupError, TypeError, RecursionError) as exc:
            raise AskError("invalid", f"no answer of a chat: {_shown(body)}") from exc
        answer.spend(reply.get("usage"))
        if choice.get("finish_reason") == "length":
            raise AskError("invalid", f"the answer was cut off, at {MAX_TOKENS} tokens or less")
        return read_answer(text, form)

    def _post(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = getattr(self._threads, "connection", None)
        if connection is not None:
            try:
                return self._exchange(connection, body)
            except AskError as error:
                # A server may close a connection that rested; that says nothing of the server.
                if error.kind != "unreachable":
                    raise
        connect_seconds = min(self.timeout_seconds, _CONNECT_SECONDS)
        if self._tls is not None:
            connection = http.client.HTTPSConnection(
                self.address.host, self.address.port, timeout=connect_seconds, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(
                self.address.host, self.address.port, timeout=connect_seconds
            )
        self._threads.connection = connection
        return self._exchange(connection, body)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        deadline = time.monotonic() + self.timeout_seconds
        call, is_done = None, False
        try:
            if connection.sock is None:
                connection.connect()
            sock: socket.socket = connection.sock
            sock.settimeout(self.timeout_seconds)
            call = _Call(sock, deadline)
            with self._lock:
                self._calls[threading.get_ident()] = call
            connection.request("POST", self.address.path, body, headers)
            response = connection.getresponse()
            content = response.read(MAX_BYTES + 1)
            if call.is_overdue:
                raise TimeoutError
            if len(content) > MAX_BYTES:
                raise AskError("invalid", f"the answer is larger than {MAX_BYTES >> 20} MB")
            if not response.isclosed():
                raise ConnectionError("the connection broke off within the answer")
            is_done = True
            return response.status, response.headers, content
        except (OSError, http.client.HTTPException, ValueError) as exc:
            if isinstance(exc, TimeoutError) or (call is not None and call.is_overdue):
                raise AskError(
                    "timeout", f"no whole answer within {self.timeout_seconds:g} s", is_of_server=True
                ) from exc
            if isinstance(exc, http.client.HTTPException) and not isinstance(exc, ConnectionError):
                raise AskError("invalid", f"the answer is no HTTP: {type(exc).__name__}") from exc
            where = f"{self.address.host}:{self.address.port}"
            problem = f"{where}: {str(exc) or type(exc).__name__}"
            raise AskError("unreachable", problem, is_of_server=True) from exc
        finally:
            with self._lock:
                self._calls.pop(threading.get_ident(), None)
            if not is_done:
                connection.close()
                self._threads.connection = None

    def _watch(self) -> None:
        while not self._stopped.wait(0.2):
            self._cut(time.monotonic())

    def _cut(self, now: float) -> None:
        with self._lock:
            for call in self._calls.values():
                if call.deadline <= now:
                    call.is_overdue = True
                    with suppress(OSError):
                        call.sock.shutdown(socket.SHUT_RDWR)


def schema_of(form: type[Any]) -> dict[str, Any]:
    """The JSON schema of a structure, as servers that write by a schema take it."""
    found: dict[str, Any] = msgspec.json.schema(form)["$defs"][form.__name__]
    return {**found, "required": list(found["properties"]), "additionalProperties": False}


def read_answer(text: object, form: type[T]) -> T:
    """The structure in what a model wrote: its JSON may stand between marks or words, and after thoughts.

    Raises:
        AskError: there is none, or it does not fit.
    """
    if not isinstance(text, str):
        raise AskError("invalid", f"the answer holds no text but {type(text).__name__}")
    said = text.rpartition("</think>")[2]
    begin, end = said.find("{"), said.rfind("}") + 1
    if not 0 <= begin < end:
        raise AskError("invalid", f"the answer holds no JSON object: {_shown(said.encode(errors='replace'))}")
    try:
        return msgspec.json.decode(said[begin:end].encode(errors="replace"), type=form)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise AskError("invalid", f"the answer does not fit the schema: {exc}") from exc


def _refusal(status: int, headers: http.client.HTTPMessage, body: bytes) -> AskError:
    pause = str(headers.get("Retry-After") or "")
    waits = float(pause) if pause.isdigit() else 0.0
    text = f"HTTP {status}: {_shown(body)}"
    if 300 <= status < 400:
        text = f"HTTP {status}, a redirect, which is not followed: name the address that it leads to"
    is_of_server = status not in _OF_QUESTION
    return AskError("refused", text, may_pass=status in _BUSY, pause=waits, is_of_server=is_of_server)


def _shown(body: bytes) -> str:
    """The begin of what a server said, on one line, without control characters."""
    text = body[: 4 * _SHOWN].decode(errors="replace")
    clean = "".join(char if char.isprintable() else " " for char in text)
    return repr(" ".join(clean.split())[:_SHOWN])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
