"""Messages between processes: what comes out is what went in, and nothing else gets through."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill import errors
from framemill.actors.shards import Shard
from framemill.actors.shortfalls import Delivered, LossKind, Shortfall
from framemill.cluster.results.commits import Part, Refused
from framemill.cluster.run import messages
from framemill.cluster.run.failures import describe_failure, error_from, job_failure
from framemill.cluster.run.messages import Message, Request, RunShard, decode, encode
from framemill.errors import FramemillError, MediaError, UnreadableError
from framemill.ops.media import MediaDescription, StreamDescription
from framemill.plugins import Plugin

KINDS = [
    kind for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
]  # fmt: skip


def _example(kind: Any) -> Any:
    """Some value of a declared type, every field of a message set."""
    if isinstance(kind, msgspec.inspect.StructType):
        return kind.cls(**{f.name: _example(f.type) for f in kind.fields})
    if isinstance(kind, msgspec.inspect.DataclassType):
        known: dict[type, Any] = {
            Shard: Shard(0, 25, True, 1.5),
            Delivered: Delivered(24, 1, 1.5, 48_000, 2),
            Shortfall: Shortfall(LossKind.CUT_SHORT, "it was cut off"),
            Part: Part("frames", "part-a-0.parquet", 3, 99, ("owner",)),
            Refused: Refused(operation="frames", owner="owner", message="why", trace="where"),
            Plugin: Plugin("blur", "my_module:Blur", "0f" * 16, "/home/me/project"),
            MediaDescription: MediaDescription(
                uri="/a", num_bytes=1, streams=(StreamDescription(index=0, type="video"),)
            ),
        }
        return known[kind.cls]
    if isinstance(kind, msgspec.inspect.UnionType):
        return _example(kind.types[0])
    if isinstance(kind, msgspec.inspect.DictType):
        return {_example(kind.key_type): _example(kind.value_type)}
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return (_example(kind.item_type),)
    if isinstance(kind, msgspec.inspect.TupleType):
        return tuple(_example(each) for each in kind.item_types)
    if isinstance(kind, msgspec.inspect.ListType):
        return [_example(kind.item_type)]
    plain: dict[type, Any] = {
        msgspec.inspect.StrType: "text",
        msgspec.inspect.BytesType: b"/videos/\xff.mp4",
        msgspec.inspect.IntType: 7,
        msgspec.inspect.FloatType: 0.1,
        msgspec.inspect.BoolType: True,
        msgspec.inspect.AnyType: {"nested": [1, "two"]},
        msgspec.inspect.NoneType: None,
    }
    return plain[type(kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_survives_json_and_pickle(kind: type[Message]) -> None:
    message = _example(msgspec.inspect.type_info(kind))
    assert b"\n" not in encode(message)
    assert decode(encode(message), kind) == message
    assert pickle.loads(pickle.dumps(message)) == message


@given(st.binary(min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_path_and_any_text_arrive(path: bytes, uri: str) -> None:
    task = RunShard(
        uri=uri, path=path, source_id="s", shard=Shard(0, 1, False, 0.5), shard_index=0, num_shards=1, ops=()
    )
    assert decode(encode(Request(id=3, task=task)), Request).task == task


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no JSON",
        b'{"type":"Answer","id":1,"dnoe":null}',
        b'{"type":"Answer","id":"one"}',
        b'{"type":"Reply","id":1}',
        b'{"type":"Answer","id":1,"done":{"type":"ShardDone","shard_index":0,"row":{}}}',
    ],
)
def test_what_was_not_declared_is_refused_with_a_remedy(line: bytes) -> None:
    with pytest.raises(FramemillError, match=r"does not understand.*install the same version"):
        messages.decode_reply(line)


@pytest.mark.slow
def test_a_misspelt_field_does_not_pass_the_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    path = tmp_path / "misspelt.py"
    path.write_text(
        "from framemill.cluster.run.messages import ShardDone\n"
        "done = ShardDone(shard_index=0, shortfal='')\n"
        "print(done.shortfal)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 'Unexpected keyword argument "shortfal"' in done.stdout
    assert '"ShardDone" has no attribute "shortfal"' in done.stdout


OURS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FramemillError)
]  # fmt: skip


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_an_error_of_ours_is_raised_as_what_it_was(kind: type[FramemillError]) -> None:
    failure = describe_failure(kind("why"))
    raised = error_from(decode(encode(failure), messages.Failure))
    assert str(raised) == "why"
    # What concerns one input would end the run with an exit code that says less.
    assert type(raised) is (FramemillError if issubclass(kind, MediaError) else kind)
    assert failure.fatal == (not issubclass(kind, MediaError))


def test_failures_say_what_becomes_of_them() -> None:
    assert describe_failure(UnreadableError("gone")).transient
    assert describe_failure(MemoryError()).transient and not describe_failure(MemoryError()).fatal
    unknown = describe_failure(ZeroDivisionError("by zero"))
    assert unknown.message == "ZeroDivisionError: by zero" and "Traceback" in describe_raised().trace
    failure = job_failure(describe_failure(UnreadableError("gone")), "faces")
    assert (failure.operation, failure.status, failure.error) == ("faces", "failed", "UnreadableError")


def describe_raised() -> messages.Failure:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        return describe_failure(error)


def test_a_name_that_is_no_text_can_be_part_of_a_message() -> None:
    failure = describe_failure(UnreadableError("/videos/\udcff.mp4: gone"))
    assert decode(encode(failure), messages.Failure).message == "/videos/\\udcff.mp4: gone"
