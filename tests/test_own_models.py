"""Models of roles that Framemill does not know, brought by operations from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framemill.errors import UsageError
from framemill.models.registry import all_entries, resolve
from framemill.plugins import find_plugin
from tests.test_plugins import module, plan, table_op

__all__ = ["module"]


def own_model(role: str, roles: str = "'depth_maps',", more: str = "sha256=''") -> str:
    """Further lines of a class: it runs a model of its own."""
    return (
        "    from framemill.models.entry import ModelEntry\n"
        f"    models = ({roles})\n"
        f"    own_models = (ModelEntry(name='tiny', role={role!r}, family='depth', num_bytes=0,"
        f" licence='MIT', commercial='yes', {more}),)\n"
    )


def test_a_model_of_an_operations_own_is_named_by_its_file(
    module: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "tiny.onnx").write_bytes(b"of the first")
    name = module(table_op("blur", "Blur", extra=own_model("depth_maps")))
    with pytest.raises(
        UsageError, match=r"no file is known for the model role 'depth_maps'.*of family depth"
    ):
        plan(f"{name}:Blur")
    first = plan(f"{name}:Blur", models={"depth_maps": "tiny.onnx"}).ops["blur"].key
    assert first["models"]["depth_maps"].startswith("depth:") and resolve("depth_maps", "tiny.onnx").role
    (tmp_path / "tiny.onnx").write_bytes(b"of the second")
    second = plan(f"{name}:Blur", models={"depth_maps": "tiny.onnx"}).ops["blur"].key
    assert first["digest"] != second["digest"], "rows of another file are other rows"
    with pytest.raises(UsageError, match="unknown model role 'depth_map'"):
        resolve("depth_map", "tiny.onnx")
    assert "tiny" not in {entry.name for entry in all_entries()}, "there is nothing to be listed or fetched"


def test_a_published_model_of_an_operations_own_stands_for_its_role(
    module: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    published = "sha256='a' * 64, urls=('https://models.example/tiny.onnx',)"
    name = module(table_op("blur", "Blur", extra=own_model("depth_maps", more=published)))
    assert plan(f"{name}:Blur").ops["blur"].key["models"]["depth_maps"].startswith(f"depth:{'a' * 64}")
    assert resolve("depth_maps", "tiny").urls and "tiny" in {entry.name for entry in all_entries()}


@pytest.mark.parametrize(
    ("role", "roles"), [("objects", "'objects',"), ("depth_maps", "'objects',"), ("depth_maps", "")]
)
def test_models_of_ones_own_for_other_roles_are_refused(
    module: Callable[..., str], role: str, roles: str
) -> None:
    name = module(table_op("blur", "Blur", extra=own_model(role, roles)))
    with pytest.raises(UsageError, match=r"in own_models: list a .*ModelEntry whose role is in `models`"):
        plan(f"{name}:Blur")


def test_two_operations_share_a_role_of_their_own_only_where_its_models_are_alike(
    module: Callable[..., str],
) -> None:
    same, other = own_model("depth_maps"), own_model("depth_maps", more="sha256='', colour='bgr'")
    code = [table_op(f"blur{n}", f"Blur{n}", extra=extra) for n, extra in enumerate((same, same, other))]
    name = module("".join(code))
    find_plugin(f"{name}:Blur0")
    find_plugin(f"{name}:Blur1")
    with pytest.raises(
        UsageError, match=r":Blur0' and '.*:Blur2' bring different models for the role 'depth_m"
    ):
        find_plugin(f"{name}:Blur2")
