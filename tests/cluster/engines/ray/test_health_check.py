"""Servers that answer, refuse, are something else, or only seem to be there; and the head that is watched."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("ray")

import grpc

from benchmarks.machines import free_ports
from framemill.cluster.engines.ray import head
from framemill.cluster.engines.ray import preflight as checking
from framemill.cluster.engines.ray.head import HeadWatch
from framemill.cluster.engines.ray.health_check import problem_with
from framemill.cluster.engines.ray.preflight import nodes_there
from framemill.errors import FramemillError, SetupError


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    """The port of a server of gRPC, which knows no method, as that of a node of Ray's."""
    server = grpc.server(ThreadPoolExecutor(4))
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield taken
    finally:
        server.stop(None).wait()


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """The port of a server that answers so; with None, of a frozen one, whose system takes connections."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                there, _ = server.accept()
            except OSError:
                return
            with there:
                there.recv(100)
                there.sendall(answer or b"")

    if answer is not None:
        threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)  # wakes who waits in `accept`, which would take one more
        server.close()


def _closed_port() -> int:
    with listening(None) as port:
        return port


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another kind of server"),
        (b"", "another kind of server"),
        (None, "no answer within"),
    ],
)
def test_what_does_not_answer(answer: bytes | None, said: str) -> None:
    with listening(answer) as port:
        started = time.monotonic()
        problem = problem_with("127.0.0.1", port, 0.4)
        assert time.monotonic() - started < 5
    assert said in problem


def test_what_answers_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{_closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving() as port:
        assert problem_with("127.0.0.1", port, 20.0) == ""


def test_what_refuses() -> None:
    assert problem_with("127.0.0.1", _closed_port(), 2.0) == "Connection refused"


def test_with_encryption_a_connection_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(None) as port:
        monkeypatch.setenv("RAY_USE_TLS", "1")
        assert problem_with("127.0.0.1", port, 0.4) == ""
        monkeypatch.setenv("RAY_USE_TLS", "0")
        assert problem_with("127.0.0.1", port, 0.4) != ""


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_head_that_does_not_answer_is_lost_after_a_while(
    monkeypatch: pytest.MonkeyPatch, is_frozen: bool
) -> None:
    monkeypatch.setattr(head, "ANSWER_SECONDS", 0.05)
    leaving: list[Callable[[], None]] = []
    monkeypatch.setattr(head.atexit, "register", leaving.append)
    with listening(None) as port:
        watch = HeadWatch(f"127.0.0.1:{port if is_frozen else _closed_port()}", seconds=0.3)
        time.sleep(0.4)
        # The first look that failed, however long ago the one before was.
        assert not watch.check() and not watch.is_lost
        time.sleep(0.4)
        with pytest.raises(
            FramemillError, match=r"did not answer for 0.3 s \((no answer|Connection refused)"
        ):
            watch.check()
    assert watch.is_lost and leaving == [head._leave_soon]


def test_a_head_that_comes_back_is_not_lost() -> None:
    with serving() as port:
        watch = HeadWatch(f"127.0.0.1:{port}", seconds=0.1)
        assert watch.check()
    assert not watch.check()
    with serving(port):
        time.sleep(0.2)
        assert watch.check()
    assert not watch.check() and not watch.is_lost


def _node(address: str, port: int) -> dict[str, Any]:
    return {
        "NodeID": address,
        "NodeManagerAddress": address,
        "NodeManagerPort": port,
        "Resources": {"CPU": 4.0},
    }


def test_nodes_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "ANSWER_SECONDS", 0.4)
    with serving() as alive, listening(None) as frozen:
        nodes_there([_node("127.0.0.1", alive)] * 3)
        nodes = [_node("127.0.0.1", alive), _node("localhost", frozen)]
        with pytest.raises(SetupError, match=r"^1 of 2 nodes .*localhost \(no answer within 0.4 s\)") as told:
            nodes_there(nodes)
        assert "127.0.0.1" not in str(told.value) and told.value.exit_code == 5
        started = time.monotonic()
        with pytest.raises(SetupError, match=r"^40 of 40 nodes .*, \.\.\.;"):
            nodes_there([_node("localhost", frozen)] * 40)
        assert time.monotonic() - started < 10, "all are asked at once"


def test_nodes_that_have_ended_are_left_out() -> None:
    (port,) = free_ports(1)
    with serving() as alive:
        nodes = [_node("127.0.0.1", alive), _node("localhost", port)]
        assert nodes_there(nodes) == nodes[:1]
    with pytest.raises(SetupError, match=r"^1 of 1 nodes .*localhost \(Connection refused\)"):
        nodes_there(nodes[1:])


def test_while_workers_start_the_nodes_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        time.sleep(0.05)
        return [], answers

    monkeypatch.setattr(checking.ray, "wait", never)
    monkeypatch.setattr(checking, "describe_cluster", lambda: "The cluster has 1 nodes")
    monkeypatch.setattr(checking, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(checking, "LOOK_SECONDS", 0.3)
    told: list[str] = []
    with serving() as port:
        waiting = {"answer": _node("localhost", port)}
        with pytest.raises(SetupError, match=r"no worker answered within 0.3 s on 1 nodes \(localhost\)"):
            checking._await_answers(waiting, str, told.append)
    assert told == ["waiting for a worker to start on localhost (0.3 s at most)"], "once"
    with listening(None) as port:
        waiting = {"answer": _node("localhost", port)}
        with pytest.raises(SetupError, match=r"^1 of 1 nodes .*no answer within 0.2 s"):
            checking._await_answers(waiting, str, told.append)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (lambda *given: time.sleep(60), "/results does not answer within 0.1 s on node 7"),
        (lambda *given: "no space", "no space"),
        (lambda *given: "", ""),
    ],
)
def test_storage_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, storage: Callable[..., str], said: str
) -> None:
    monkeypatch.setattr(checking, "STORAGE_SECONDS", 0.1)
    monkeypatch.setattr(checking, "_try_folder", storage)
    problem = checking._look_at_storage("/results", "token", "own", "on node 7")
    assert problem.startswith(said) and bool(problem) == bool(said)


def test_what_nobody_foresaw_of_storage_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: str) -> str:
        raise ValueError("what is this?")

    monkeypatch.setattr(checking, "_try_folder", broken)
    with pytest.raises(ValueError, match="what is this"):
        checking._look_at_storage("/results", "token", "own", "on node 7")
