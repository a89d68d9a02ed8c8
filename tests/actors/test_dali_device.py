"""Who decodes: what the variable wishes for and the machine has, within its memory."""

from __future__ import annotations

from typing import Any

import pytest

from framemill.actors import dali_device, dali_reader
from framemill.actors.dali_device import open_device_reader
from framemill.errors import SetupError, UsageError
from framemill.models.cuda import Gpu
from framemill.models.memory_plan import plan_memory

H200 = Gpu("NVIDIA H200", "sm90", 141 << 30)


@pytest.mark.parametrize(
    ("wish", "gpus", "installed", "device", "words"),
    [
        ("auto", (), True, "", ""),
        ("pyav", (H200,), True, "", ""),
        ("", (H200,), True, "gpu", "decoded by DALI on NVIDIA H200"),
        ("dali", (H200,), True, "gpu", "decoded by DALI on NVIDIA H200"),
        ("auto", (H200,), False, "", "decoded on the CPU: nvidia.dali and cupy are not installed"),
        ("dali-cpu", (), True, "cpu", "DALI on the CPU"),
    ],
)
def test_who_decodes(
    monkeypatch: pytest.MonkeyPatch,
    wish: str,
    gpus: tuple[Gpu, ...],
    installed: bool,
    device: str,
    words: str,
) -> None:
    made = []
    monkeypatch.setenv("FRAMEMILL_DECODER", wish)
    monkeypatch.setattr(dali_device, "find_gpus", lambda: gpus)
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: installed)
    monkeypatch.setattr(dali_reader, "DaliDecoder", lambda *given: made.append(given))
    reader, note = open_device_reader(4)
    assert (reader is not None) == bool(device) and words in note and bool(words) == bool(note)
    assert [given[0] for given in made] == ([device] if device else [])
    if device == "gpu":
        assert 1 << 30 < made[0][1] < H200.memory_bytes // 4 and made[0][2] == 4
        assert made[0][3] == dali_reader.CHUNK_BYTES


def test_views_of_all_readers_fit_a_small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali")
    monkeypatch.setattr(dali_device, "find_gpus", lambda: (Gpu("NVIDIA L4", "sm89", 24 << 30),))
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: True)
    monkeypatch.setattr(dali_reader, "DaliDecoder", lambda *given: made.append(given))
    open_device_reader(16)
    ((_, _, readers, chunk_bytes),) = made
    assert readers * chunk_bytes * dali_device.VIEW_COST <= plan_memory(24 << 30).arrays
    assert chunk_bytes > 1920 * 1080 * 3


def test_wishes_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_device, "find_gpus", lambda: ())
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: False)
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali")
    with pytest.raises(SetupError, match="there is no usable GPU; ask `framemill doctor`"):
        open_device_reader(1)
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali-cpu")
    with pytest.raises(SetupError, match="install the extra `dali`"):
        open_device_reader(1)
    monkeypatch.setenv("FRAMEMILL_DECODER", "ffmpeg")
    with pytest.raises(UsageError, match="choose one of auto, pyav"):
        open_device_reader(1)
