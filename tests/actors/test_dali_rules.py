from __future__ import annotations

from dataclasses import replace

import pytest

from framemill.actors import dali_rules
from framemill.actors.dali_rules import GPU_CODECS, RULES, Picture, refusal
from framemill.models.nvdec import Limits

GOOD = Picture(
    codec="h264",
    profile="High",
    pixel_format="yuv420p",
    bit_depth=8,
    width=1920,
    height=1080,
    num_frames=30,
    has_hidden=False,
    is_full_by_container=False,
)


@pytest.mark.parametrize("codec", GPU_CODECS)
def test_ordinary_files_are_read_by_the_device(codec: str) -> None:
    assert refusal(replace(GOOD, codec=codec), "gpu") == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codec": "av1"}, "no av1"),
        ({"pixel_format": "yuv420p10le", "bit_depth": 10}, "not yuv420p10le"),
        ({"pixel_format": "yuv422p"}, "not yuv422p"),
        ({"profile": "High 4:4:4 Predictive"}, "profile High 4:4:4 Predictive"),
        ({"height": 1081}, "1920 x 1081: the device's colour conversion loses odd"),
        ({"width": 4098}, "4098 x 1080 is beyond"),
        ({"width": 46, "height": 46}, "46 x 46 is beyond"),
        ({"has_hidden": True}, "not shown"),
        ({"is_full_by_container": True}, "only the container says that samples use the full range"),
        ({"num_frames": 1}, "1 frames of 1920 x 1080 are too little"),
    ],
)
def test_what_the_device_does_not_read_has_a_reason(changes: dict[str, object], words: str) -> None:
    assert words in refusal(replace(GOOD, **changes), "gpu")  # type: ignore[arg-type]


def test_every_rule_can_say_why() -> None:
    for rule in RULES:
        words = rule.reason.format(**{name: getattr(GOOD, name) for name in Picture.__slots__})
        assert words and "{" not in words


def test_the_variant_for_the_host_has_no_least_amount_of_work() -> None:
    small = replace(GOOD, codec="vp9", profile="Profile 0", width=96, height=64, num_frames=1)
    assert refusal(small, "cpu") == "" and refusal(small, "gpu")
    assert refusal(GOOD, "cpu") == "the device decodes no h264"


ADA = {"h264": Limits((48, 16), (4096, 4096), 65536, 4), "av1": Limits((128, 128), (8192, 8192), 262144, 4)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"codec": "av1", "profile": "Main", "width": 7680, "height": 4320}, ""),
        ({"codec": "vp9"}, "no vp9"),
        ({"width": 4098, "height": 2160}, "4098 x 2160 is beyond what the device decodes of h264"),
    ],
)
def test_the_drivers_word_on_its_chip_goes_before_the_table(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    monkeypatch.setattr(dali_rules, "decoder_limits", lambda: ADA)
    said = refusal(replace(GOOD, **changes), "gpu")  # type: ignore[arg-type]
    assert words in said and bool(said) == bool(words)


def test_sides_that_fit_may_still_make_too_many_blocks() -> None:
    limits = Limits((48, 16), (4096, 4096), 32_768)
    assert limits.hold(4096, 2048) and not limits.hold(4096, 2064)
    assert Limits((48, 16), (4096, 4096)).hold(4096, 4096)
