"""Array code on CuPy gives what it gives on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from framemill.models.arrays import await_producer, cupy_module, is_on_host, to_host
from framemill.ops.objects.decoders import FAMILIES
from framemill.ops.pixels.boxes import nms
from framemill.ops.pixels.defects import measure_defects
from framemill.ops.pixels.measures import colourfulness, measure_lumas, perceptual_hashes
from framemill.ops.pixels.model_input import letterbox, planes
from framemill.ops.pixels.resizing import (
    cut_regions,
    halve,
    mirror,
    mix_channels,
    resize_linear,
    shrink,
    turn,
)
from tests.ops.objects.test_decoders import SIZE, made

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (4, 90, 161, 3), np.uint8)
BOXES = np.array([[10, 20, 60, 70], [-20, -10, 40, 30], [100, 50, 200, 120]], np.float32)


@pytest.mark.parametrize(
    "work",
    [
        lambda p: resize_linear(p, (64, 48)),
        lambda p: shrink(p[..., 0], (32, 32)),
        halve,
        lambda p: turn(p, 1),
        lambda p: turn(p, 2),
        mirror,
        lambda p: mix_channels(p, np.eye(3, dtype=np.float32)[::-1] * 0.7),
        lambda p: cut_regions(p, np.array([0, 1, 3]), BOXES, (24, 20)),
        lambda p: planes(p, "bgr", (127.0,), (1 / 128,)),
        lambda p: letterbox(p, (200, 120), (20, 10), 114, "bgr"),
    ],
)
def test_pictures(work: Any) -> None:
    there = work(cupy_module().asarray(PICTURES))
    assert not is_on_host(there)
    await_producer(there)
    here, copied = work(PICTURES), to_host(there)
    assert copied.dtype == here.dtype
    np.testing.assert_allclose(
        copied.astype(float), here.astype(float), atol=1 if here.dtype == np.uint8 else 1e-5
    )


def test_measures_of_frames() -> None:
    """Sums of whole numbers are equal anywhere; what is summed in floats differs in the last digits."""
    lumas, full = PICTURES[..., 0], RNG.integers(0, 256, (4, 700, 600), np.uint8)
    lumas = np.concatenate([lumas, np.zeros_like(lumas[:1])])
    full = np.concatenate([full, np.zeros_like(full[:1])])
    there, there_full = (cupy_module().asarray(array) for array in (lumas, full))
    for got, want in zip(measure_lumas(there), measure_lumas(lumas), strict=True):
        assert (got.brightness, got.contrast, got.entropy) == (want.brightness, want.contrast, want.entropy)
        assert got.sharpness == pytest.approx(want.sharpness, rel=1e-12)
    assert measure_defects(there, there_full) == measure_defects(lumas, full)
    assert colourfulness(cupy_module().asarray(PICTURES)) == pytest.approx(colourfulness(PICTURES), rel=1e-9)
    small = RNG.integers(0, 256, (50, 32, 32), np.uint8)
    assert perceptual_hashes(cupy_module().asarray(small)) == perceptual_hashes(small)


@pytest.mark.parametrize("least", [0.3, 2.0], ids=["some", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_candidates_of_detectors(family: str, least: float) -> None:
    outputs = made(family, 3, 8)
    there = FAMILIES[family].decode(
        {name: cupy_module().asarray(values) for name, values in outputs.items()}, SIZE, least
    )
    here = FAMILIES[family].decode(outputs, SIZE, least)
    for name, got, want in zip(here._fields, there, here, strict=True):
        assert not is_on_host(got)
        np.testing.assert_allclose(to_host(got), want, rtol=1e-5, atol=1e-5, err_msg=name)


def test_boxes() -> None:
    low = RNG.random((200, 2)) * 80
    boxes = np.concatenate([low, low + RNG.random((200, 2)) * 40], axis=1).astype(np.float32)
    scores, labels = (RNG.integers(0, 30, 200) / 30).astype(np.float32), RNG.integers(0, 3, 200)
    there = nms(*(cupy_module().asarray(a) for a in (boxes, scores, labels)), 0.4, 50)
    np.testing.assert_array_equal(to_host(there), nms(boxes, scores, labels, 0.4, 50))
