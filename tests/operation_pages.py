"""What docs pages on operations of one's own hold, and tiny networks of the contracts that these keep."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.cluster.extraction import PROJECT

FPS = 12
RATE = 48_000


def python_blocks(page: str) -> list[str]:
    """The blocks of Python in a page of docs/, in order."""
    text = (PROJECT / "docs" / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def typed_lines(page: str) -> list[str]:
    """The lines of a page's shell blocks."""
    text = (PROJECT / "docs" / page).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in "\n".join(blocks).splitlines() if line.strip()]


def render_dark_then_bright(path: Path, loudness: float = 0.5) -> np.ndarray:
    """A clip of two seconds dark and two bright, with a stereo tone at 48 kHz, twice as loud on the left.

    Returns:
        float32 [2, samples], the sound as it is in the file.
    """
    shades = np.random.default_rng(3)
    time = np.arange(4 * RATE) / RATE
    tone = loudness * np.sin(2 * np.pi * 330 * time)
    samples = np.rint(np.stack([tone, tone / 2]) * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "threads": "1"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        for index in range(4 * FPS):
            low = 10 if index < 2 * FPS else 190
            picture = shades.integers(low, low + 50, (6, 10, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="s16", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return samples.astype(np.float32) / 32768


def write_demucs(path: Path, shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)) -> None:
    """A network that gives each stem its share of the mix: float32 [n, 2, samples] to [n, 4, 2, samples]."""
    nodes = [
        helper.make_node("Unsqueeze", ["input", "axis"], ["mix"]),
        helper.make_node("Mul", ["mix", "shares"], ["output"]),
    ]
    constants = {"axis": np.array([1]), "shares": np.array(shares, np.float32).reshape(1, -1, 1, 1)}
    _write(
        path, nodes, {"input": ["n", 2, "samples"]}, {"output": ["n", len(shares), 2, "samples"]}, constants
    )


def write_videomae(path: Path) -> None:
    """A network of 16 frames that names the dark and the bright, and neither of two other classes."""
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["mean"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["all"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["all", "slope"], ["logits"]),
    ]
    constants = {"slope": np.array([[-4, 0, 4, 0]], np.float32)}
    _write(path, nodes, {"pixel_values": ["n", 16, 3, 224, 224]}, {"logits": ["n", 4]}, constants)


def write_video_tower(path: Path, num_frames: int, size: int) -> None:
    """A network that gives the mean colour of each frame: [n, frames, 3, size, size] to [n, 3 * frames]."""
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["colours"], axes=[3, 4], keepdims=0),
        helper.make_node("Flatten", ["colours"], ["features"], axis=1),
    ]
    inputs = {"frames": ["n", num_frames, 3, size, size]}
    _write(path, nodes, inputs, {"features": ["n", 3 * num_frames]}, {})


def _write(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants: dict[str, np.ndarray],
) -> None:
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in named.items()]
        for named in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", *values, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
