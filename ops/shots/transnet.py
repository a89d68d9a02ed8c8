"""Shot boundaries by TransNet V2 (Soucek and Lokoc, arXiv:2008.04838).

The network looks at windows of 100 pictures of 48 x 27 and says of each frame how likely it is the last one
before a new shot, and how likely it is part of a transition. As its authors run it, a window starts every 50
frames and its middle 50 are kept; before the first frame and behind the last one these are repeated.

Windows lie at fixed frame indices of the source, so that what they say does not depend on where it was cut
into shards. Those that reach into two shards are run when the shards are merged, on the few pictures that
each kept of its ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import BoolArray, Chunk, Float32Array, Int64Array, ShardInfo, Signals, UInt8Array
from framemill.ops.columns import column
from framemill.ops.operation import Partial
from framemill.ops.shots.features import PLAIN, Boundary, Planes

# Exports that take float32, and those that take bytes; values are 0..255 in both.
FAMILIES: Mapping[str, Any] = {"transnetv2": np.float32, "transnetv2_bytes": np.uint8}
WINDOW, STEP, EDGE = 100, 50, 25
WIDTH, HEIGHT = 48, 27
PICTURE_BYTES = WIDTH * HEIGHT * 3
# A transition of so few frames is a cut. In the labelled clips, cuts have 1 or 2 frames that are likely part
# of one, everything else 20 and more.
CUT_FRAMES = 3
# From Y, Cb, Cr of studio range and a 1 to R, G, B (ITU-R BT.601-7). Signals do not tell which matrix and
# range a file has: with others colours are a little off, which moved no boundary of the labelled clips by
# more than a frame.
_TO_RGB = np.array([[1.164, 0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0]])
_TO_RGB = np.hstack([_TO_RGB, -_TO_RGB @ np.array([[16], [128], [128]])])

# One row per shard. Lists run over frames; windows over those whose verdict is known.
STATE_SCHEMA = pa.schema(
    [
        column("step_seconds", pa.float64(), "usual time between frames of the whole source, > 0"),
        column("num_frames", pa.int64(), "frames of the whole source by its index"),
        column("end_seconds", pa.float64(), "where the last of them ends"),
        column("frame_index", pa.list_(pa.int64()), "frames seen: 0-based position in the source"),
        column("pts_seconds", pa.list_(pa.float64()), "their times"),
        column("plain", pa.list_(pa.bool_()), "whether each is of one colour all over"),
        column("windows", pa.list_(pa.int64()), "windows that were run: 0-based position in the source"),
        column("single", pa.list_(pa.float32()), "probabilities of their middle frames to end a shot"),
        column("many", pa.list_(pa.float32()), "and to be part of a transition"),
        column("kept", pa.list_(pa.int64()), "frames that windows of two shards need"),
        column("pictures", pa.large_binary(), f"{PICTURE_BYTES} bytes for each of these"),
    ]
)


class ShotNetwork:
    """TransNet V2 on windows of pictures."""

    def __init__(self, model: Model) -> None:
        """Raises ModelError where the model is of another family."""
        if model.entry.family not in FAMILIES:
            raise ModelError(
                f"scenes: model {model.entry.name} is of family {model.entry.family!r}; add one of "
                + ", ".join(FAMILIES)
            )
        self._model = model

    def judge(self, windows: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Probabilities of the middle frames to end a shot, and to be part of a transition.

        Args:
            windows: uint8 [n, WINDOW, HEIGHT, WIDTH, 3] RGB, n >= 1.

        Returns:
            Two of float32 [n, STEP], 0..1.

        Raises:
            ModelError: the model gives something else.
        """
        entry = self._model.entry
        outputs = self._model.runner.run({"frames": windows.astype(FAMILIES[entry.family])})
        found = [values.reshape(len(values), -1) for values in outputs.values()]
        if len(found) != 2 or any(values.shape != (len(windows), WINDOW) for values in found):
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"scenes: model {entry.name} gives {shapes} for {len(windows)} windows, but family "
                f"{entry.family!r} gives two outputs [{len(windows)}, {WINDOW}]; add another model"
            )
        for values in found:
            # Not a number is in no range.
            if not ((values >= 0) & (values <= 1)).all():
                raise ModelError(
                    f"scenes: model {entry.name} gives {values.min():.3g} to {values.max():.3g}, which are "
                    "no probabilities; export it with its sigmoid"
                )
        single, many = (values[:, EDGE:-EDGE].astype(np.float32) for values in found)
        return single, many


class TransNetCollector:
    """Verdicts of one shard, and the pictures of its ends."""

    def __init__(self, network: ShotNetwork, shard: ShardInfo, step_seconds: float, empty: pa.Table) -> None:
        self.done = False
        self._network, self._shard, self._step, self._empty = network, shard, step_seconds, empty
        start = shard.start_frame
        # The first window that needs no frame before the shard.
        self._first = 0 if not start else -(-(start + EDGE) // STEP)
        self._next = self._first
        self._seen: list[int] = []
        self._seconds: list[float] = []
        self._plain: list[bool] = []
        self._pictures: dict[int, UInt8Array] = {}  # of frames that windows may still need
        self._windows: list[int] = []  # those that were run, and what the network said of them
        self._verdicts: list[tuple[Float32Array, Float32Array]] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Signals)
        mine = (chunk.frame_index >= self._shard.start_frame) & (chunk.frame_index < self._shard.end_frame)
        for i in np.flatnonzero(mine).tolist():
            at = int(chunk.frame_index[i])
            planes = (chunk.luma[i], chunk.chroma_u[i], chunk.chroma_v[i])
            self._pictures[at] = small_picture(planes)
            self._seen.append(at)
            self._seconds.append(float(chunk.pts_seconds[i]))
            self._plain.append(float(self._pictures[at].mean(axis=2).std()) < PLAIN)
        if self._seen:
            # Frames come in order: those up to the last one seen are there, or will never be.
            self._run((self._seen[-1] + 1 - WINDOW + EDGE) // STEP + 1)

    def finish(self) -> Partial:
        num_frames = len(self._shard.index)
        if self._seen and self._shard.end_frame == num_frames:
            self._run(-(-num_frames // STEP))
        index = self._shard.index
        last = float(index.pts_seconds[-1]) if num_frames else 0.0
        none = [(np.zeros((0, STEP), np.float32),) * 2]
        single, many = (np.concatenate(part) for part in zip(*none, *self._verdicts, strict=True))
        kept = sorted(self._pictures)
        row = [
            self._step,
            num_frames,
            index.end_seconds if index.end_seconds > last else last + self._step,
            self._seen,
            self._seconds,
            self._plain,
            self._windows,
            single.ravel(),
            many.ravel(),
            kept,
            b"".join(self._pictures[at].tobytes() for at in kept),
        ]
        columns = [pa.array([value], f.type) for value, f in zip(row, STATE_SCHEMA, strict=True)]
        return Partial(self._empty, pa.table(columns, schema=STATE_SCHEMA))

    def _run(self, stop: int) -> None:
        """Runs the windows up to `stop`, and forgets the pictures that no window needs any more."""
        if stop <= self._next:
            return
        at, pictures = sorted(self._pictures), self._pictures
        # A window whose middle nobody saw, in a gap of a damaged file, has nothing to say.
        numbers = sorted({i // STEP for i in at}.intersection(range(self._next, stop)))
        if numbers:
            self._verdicts.append(self._network.judge(np.stack([_window(k, at, pictures) for k in numbers])))
        self._windows += numbers
        self._next = stop
        # Behind the first one needs its start the window before, which reaches into the shard before.
        head = self._first * STEP + EDGE if self._shard.start_frame else 0
        tail = self._next * STEP - EDGE
        self._pictures = {i: picture for i, picture in pictures.items() if i < head or i >= tail}


def small_picture(planes: Planes) -> UInt8Array:
    """A frame's thinned planes as the network takes it, uint8 [HEIGHT, WIDTH, 3] RGB."""
    size = (WIDTH, HEIGHT)
    small = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes if plane.size]
    small += [np.full((HEIGHT, WIDTH), 128, np.uint8)] * (3 - len(small))
    picture: UInt8Array = cv2.transform(cv2.merge(small), _TO_RGB).astype(np.uint8, copy=False)
    return picture


def _window(number: int, at: Sequence[int], pictures: Mapping[int, UInt8Array]) -> UInt8Array:
    """The pictures of a window; where one is missing stands the one before, at the start the first.

    Args:
        at: indices of the frames in `pictures`, ascending, at least one.
    """
    first = number * STEP - EDGE
    places = np.searchsorted(at, np.arange(first, first + WINDOW), side="right") - 1
    return np.stack([pictures[at[place]] for place in places.clip(0)])


def join_states(states: Sequence[pa.Table], network: ShotNetwork) -> tuple[Float32Array, Float32Array]:
    """Probabilities of all frames of a source to end a shot, and to be part of a transition, float32 [n].

    Args:
        states: of its shards in time order, of which at least one saw a frame.
        network: runs the windows that reach into two shards.
    """
    num_frames = states[0]["num_frames"][0].as_py()
    count = -(-num_frames // STEP)
    found = np.zeros((2, count, STEP), np.float32)
    is_known = np.zeros(count, np.bool_)
    pictures: dict[int, UInt8Array] = {}
    for state in states:
        windows = _listed(state, "windows")
        is_known[windows] = True
        for row, name in enumerate(("single", "many")):
            found[row, windows] = _listed(state, name).reshape(-1, STEP)
        raw = np.frombuffer(state["pictures"][0].as_buffer(), np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
        pictures.update(zip(_listed(state, "kept").tolist(), raw, strict=True))
    at = sorted(pictures)
    seen = np.concatenate([_listed(state, "frame_index") for state in states])
    for k in np.setdiff1d(seen // STEP, np.flatnonzero(is_known)).tolist():
        single, many = network.judge(_window(k, at, pictures)[None])
        found[0, k], found[1, k] = single[0], many[0]
    flat = found.reshape(2, -1)[:, :num_frames]
    return flat[0], flat[1]


def seen_frames(states: Sequence[pa.Table]) -> tuple[Int64Array, npt.NDArray[np.float64], BoolArray]:
    """Frame indices, times, and whether they are plain, of the frames that were seen, in order."""
    names = ("frame_index", "pts_seconds", "plain")
    at, seconds, plain = (np.concatenate([_listed(state, name) for state in states]) for name in names)
    return at, seconds, plain


def find_transitions(
    single: Float32Array, many: Float32Array, seen: Int64Array, plain: BoolArray, least: float
) -> list[Boundary]:
    """The first frames of shots: each the one behind a run of frames that likely end one, as its authors say.

    The network does not tell kinds of transitions. Here a short one is a cut, a longer one with a frame of a
    single colour a fade, and any other a dissolve.

    Args:
        single, many: float32 [n], by frame index, as `join_states` gives them.
        seen: int64 [m], the frames that were seen. plain: bool [m].
        least: probability above which a frame counts, 0..1.
    """
    ends, within = single > least, many > least
    boundaries = []
    stops = np.flatnonzero(ends[:-1] & ~ends[1:])  # the last frames of runs
    starts = np.flatnonzero(ends & ~np.append(False, ends[:-1]))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=False):
        position = int(np.searchsorted(seen, stop + 1))
        if not 0 < position < len(seen):
            continue
        first, last = start, stop
        while first > 0 and within[first - 1]:
            first -= 1
        while last + 1 < len(within) and within[last + 1]:
            last += 1
        kind = "cut"
        if last - first + 1 > CUT_FRAMES:
            part = slice(*np.searchsorted(seen, [first, last + 1]).tolist())
            kind = "fade" if plain[part].any() else "dissolve"
        boundaries.append(Boundary(position, kind, float(single[start : stop + 1].max())))
    return boundaries


def _listed(state: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = state[name].combine_chunks()[0].values.to_numpy(zero_copy_only=False)
    return values
