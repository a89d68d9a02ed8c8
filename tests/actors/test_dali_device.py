"""Who decodes: what the variable wishes for and the machine has, within its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from framemill.actors import dali_device, dali_reader, trial_clip
from framemill.actors.dali_copies import Copy
from framemill.actors.dali_device import decoder_problem, open_device_reader
from framemill.actors.trial_clip import GREY, LUMA
from framemill.errors import SetupError, UsageError
from framemill.models import nvdec
from framemill.models.cuda import Gpu
from framemill.models.memory_plan import decoder_bytes, plan_memory

H200 = Gpu("NVIDIA H200", "sm90", 141 << 30)


class Good:
    """A decoder that gives of any clip what is right of the one that is tried; `off`: levels added to it."""

    def __init__(self, off: float = 0, error: Exception | None = None) -> None:
        self.off, self.error = off, error

    def decode(self, copies: Sequence[Copy]) -> list[Any]:
        if self.error is not None:
            return [self.error for _ in copies]
        greys = np.array(GREY)[:, None, None, None] + self.off
        return [np.broadcast_to(greys.round().astype(np.uint8), (len(LUMA), 128, 128, 3)) for _ in copies]


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "library_problem", lambda: "")


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
    monkeypatch.setattr(dali_reader, "DaliDecoder", lambda *given: made.append(given) or Good())
    reader, note = open_device_reader(4)
    assert (reader is not None) == bool(device) and words in note and bool(words) == bool(note)
    assert [given[0] for given in made] == ([device] if device else [])
    if device == "gpu":
        assert 1 << 30 < made[0][1] < H200.memory_bytes // 4 and 1 <= made[0][2] <= 4
        assert made[0][3] == dali_reader.CHUNK_BYTES


def test_views_of_all_readers_fit_a_small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali")
    monkeypatch.setattr(dali_device, "find_gpus", lambda: (Gpu("NVIDIA L4", "sm89", 24 << 30),))
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: True)
    monkeypatch.setattr(dali_reader, "DaliDecoder", lambda *given: made.append(given) or Good())
    open_device_reader(16)
    ((_, frame_bytes, calls, chunk_bytes, sessions, kept_bytes),) = made
    # Two decoding units, of which the driver need not tell, and sixteen threads.
    assert (calls, sessions) == (1, 4) and frame_bytes >= plan_memory(24 << 30).decoder // 2
    assert kept_bytes >= sessions * decoder_bytes(1920, 1080)
    readers = 16
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


LOST = RuntimeError("CUDA runtime API error cudaErrorDevicesUnavailable (46)")


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        (Good(error=LOST), "RuntimeError: CUDA runtime API error cudaErrorDevicesUnavailable"),
        (
            Good(off=-20),
            "pictures are wrong: grey levels 20, 78, 136, 194 where 40, 98, 156, 214 are right",
        ),
    ],
    ids=["raises", "wrong"],
)
def test_a_device_that_is_seen_and_does_not_decode_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, decoder: Good, words: str
) -> None:
    monkeypatch.setattr(dali_device, "find_gpus", lambda: (H200,))
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: True)
    monkeypatch.setattr(dali_reader, "DaliDecoder", lambda *given: decoder)
    monkeypatch.setenv("FRAMEMILL_DECODER", "auto")
    reader, note = open_device_reader(2)
    assert reader is None and note.startswith("frames are decoded on the CPU: NVIDIA H200 does not decode")
    assert words in note and words in decoder_problem()
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali")
    with pytest.raises(SetupError, match="FRAMEMILL_DECODER=dali, but NVIDIA H200 does not decode"):
        open_device_reader(2)


def test_a_device_without_what_its_kernels_are_compiled_with_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compiling(*given: Any) -> Any:
        raise RuntimeError("libnvrtc.so.13: cannot open shared object file")

    monkeypatch.setattr(trial_clip, "resize_linear", compiling)
    assert "libnvrtc.so.13" in trial_clip.trial_problem(Good().decode, "gpu")


def test_a_container_without_the_decoders_library_is_told_how_it_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(dali_device, "find_gpus", lambda: (H200,))
    monkeypatch.setattr(dali_device, "_is_installed", lambda name: True)
    monkeypatch.setattr(nvdec, "LIBRARY", "libnvcuvid-of-nobody.so.1")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in decoder_problem()
