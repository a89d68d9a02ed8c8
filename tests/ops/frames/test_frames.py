from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.frames.frames import FramesOp, FramesOptions, working_size
from framemill.ops.pixels.measures import colourfulness, measure_luma, perceptual_hash
from tests.ops.stand_ins import ArrayFrames


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_flat_frame_shows_nothing() -> None:
    for value in (0, 77, 255):
        measured = measure_luma(np.full((90, 160), value, np.uint8))
        assert measured.sharpness == 0
        assert measured.brightness == pytest.approx(value / 255)
        assert measured.contrast == pytest.approx(0, abs=1e-6)
        assert measured.entropy == 0
        assert measured.score == 0


def test_half_black_half_white() -> None:
    luma = np.zeros((100, 100), np.uint8)
    luma[:, 50:] = 255
    measured = measure_luma(luma)
    assert measured.brightness == pytest.approx(0.5)
    assert measured.contrast == pytest.approx(0.5)
    assert measured.entropy == pytest.approx(1.0)
    # The 4-neighbour Laplacian is +-255 in the two columns at the edge and 0 elsewhere.
    assert measured.sharpness == pytest.approx(0.02 * 255**2)


def test_entropy_of_even_histogram_is_eight_bits() -> None:
    assert measure_luma(np.arange(256, dtype=np.uint8).reshape(16, 16)).entropy == pytest.approx(8)


def test_blur_lowers_sharpness_and_score() -> None:
    import cv2

    sharp = noise(1, 144, 256)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    assert measure_luma(blurred).sharpness < measure_luma(sharp).sharpness / 10
    assert measure_luma(blurred).score < measure_luma(sharp).score


def test_colourfulness_follows_the_paper() -> None:
    grey = np.repeat(noise(2, 60, 80, 1), 3, axis=2)
    assert colourfulness(grey[None]) == pytest.approx([0])
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    # One colour has no spread: 0.3 * hypot(R - G, (R + G) / 2 - B).
    assert colourfulness(np.stack([red, red])) == pytest.approx([0.3 * np.hypot(255, 127.5)] * 2)
    assert colourfulness(red[:0][None][:0]) == []


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_hash_bits_are_those_of_imagehash(seed: int) -> None:
    imagehash = pytest.importorskip("imagehash")
    image = pytest.importorskip("PIL.Image")
    pixels = noise(seed, 32, 32)
    assert perceptual_hash(pixels) == int(str(imagehash.phash(image.fromarray(pixels))), 16)


def test_hash_survives_scaling_and_noise_but_tells_pictures_apart() -> None:
    import cv2

    def picture(seed: int) -> np.ndarray:
        return cv2.resize(noise(seed, 9, 16), (320, 180), interpolation=cv2.INTER_CUBIC)

    def hashed(luma: np.ndarray) -> int:
        return perceptual_hash(cv2.resize(luma, (32, 32), interpolation=cv2.INTER_AREA))

    same, other = picture(1), picture(2)
    noisy = np.clip(cv2.resize(same, (640, 360)).astype(int) + noise(3, 360, 640) % 9 - 4, 0, 255)
    assert (hashed(same) ^ hashed(noisy.astype(np.uint8))).bit_count() <= 4
    assert (hashed(same) ^ hashed(other)).bit_count() >= 16


@pytest.mark.parametrize("value", [0, 128, 255])
def test_hash_of_a_flat_frame_is_exact(value: int) -> None:
    assert perceptual_hash(np.full((32, 32), value, np.uint8)) == (0x8000_0000_0000_0000 if value else 0)


def test_colours_finer_than_128_pixels_are_averaged() -> None:
    """Red and cyan side by side are grey from afar; the two in the middle of each four are vivid."""
    import av

    from framemill.actors.pyav_frames import PyavFrames

    stripes = np.zeros((256, 512, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 3::4] = (255, 0, 0)
    stripes[:, 1::4] = stripes[:, 2::4] = (0, 255, 255)
    (even, odd) = (np.repeat(stripes[:, i : i + 1], 512, axis=1) for i in (0, 1))
    found = []
    for pixels in (stripes, even, odd):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv444p")
        one = np.zeros(1, np.int64)
        frames = PyavFrames([frame], one, np.zeros(1), np.ones(1, bool), (512, 256), 0)
        (value,) = FramesOp(FramesOptions(), {}).run(frames, {})["colourfulness"].to_pylist()
        found.append(value)
    assert found[0] < 3 and min(found[1:]) > 70


@settings(deadline=None)
@given(st.integers(1, 8192), st.integers(1, 8192))
def test_working_size_keeps_the_shape(width: int, height: int) -> None:
    small = working_size(width, height, 512)
    assert 1 <= max(small) <= 512 or small == (width, height)
    assert max(width, height) > 512 or small == (width, height)
    assert min(small) >= 1


def test_rows_of_a_batch() -> None:
    frames = ArrayFrames(noise(4, 3, 90, 160, 3), first_index=7)
    table = FramesOp(FramesOptions(), {}).run(frames, {})
    assert table.schema.equals(FramesOp.schema, check_metadata=True)
    assert table["frame_index"].to_pylist() == [7, 8, 9]
    assert table["pts_seconds"].to_pylist() == pytest.approx([0.7, 0.8, 0.9])
    assert table["tier"].null_count == table["image"].null_count == 3
    assert all(0 < score <= 1 for score in table["frame_score"].to_pylist())


def test_images_are_stored_on_request() -> None:
    image = pytest.importorskip("PIL.Image")
    frames = ArrayFrames(noise(5, 2, 40, 60, 3))
    table = FramesOp(FramesOptions(images=True, quality=95), {}).run(frames, {})
    sizes = [image.open(io.BytesIO(data)).size for data in table["image"].to_pylist()]
    assert sizes == [(60, 40), (60, 40)]


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(UsageError, match=rf"{quality}.*1 to 100"):
        FramesOptions(quality=quality)
