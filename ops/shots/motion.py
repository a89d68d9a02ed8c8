"""Motion of each shot: how much moves, what the camera does, and which way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import BoolArray, Float64Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import TableOp
from framemill.ops.shots.picture_steps import running_mean

# Kinds of camera moves -> directions of more than 0, and of less, of the camera.
MOVES: Mapping[str, tuple[str, str]] = {
    "pan": ("right", "left"),
    "tilt": ("up", "down"),
    "zoom": ("in", "out"),
    "roll": ("clockwise", "counterclockwise"),
}
KINDS = ("static", *MOVES, "handheld")
# Mean distance of a picture's parts from its middle, in long sides: what growth and turning move them by.
_REACH = 0.3
# What is slower is a move of the camera, what is faster its trembling.
_SMOOTH_SECONDS = 0.5
# Around fades and dissolves two pictures are seen through each other; as for stills.
_FADE_SECONDS = 0.5
# Share of the known time that a camera has to move for its shot to be of a move; and of its way, there and
# back, that has to lead one way for that to be its direction.
_LEAST_MOVING, _LEAST_NET = 0.25, 0.5
# Long sides that a move goes at least, there and back: less is not seen.
_LEAST_WAY = 0.01
# A move that leads nowhere is meant where it is so much faster than the trembling, as one there and back.
_MEANT = 1 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionOptions:
    """Options of `motion`.

    Attributes:
        move: least speed of a camera that moves, in long sides of the picture per second, > 0 and at most 10;
            0.005 is a pan that takes 200 seconds over a width, or a zoom that grows 1.7% a second. Cameras at
            rest were measured at 0.001 in the median, and 0.004 in 99 of 100 cases.
        shake: least trembling of one that is held in the hand, likewise: median of how far its speed is from
            its running mean. Cameras at rest had at most 0.002.
    """

    move: float = 0.005
    shake: float = 0.012

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if not 0 < getattr(self, name) <= 10:
                raise UsageError(f"motion.{name} is {getattr(self, name)}; give a number above 0, at most 10")


class Motion(TableOp):
    """One row a shot, from the steps of `camera_steps` inside it.

    A camera that travels shows as the pan, tilt or zoom that its picture shows: from pictures alone these
    cannot be told apart. Where something fills more than half of the picture, its move is taken for the
    camera's.
    """

    name = "motion"
    after = ("scenes", "camera_steps")
    Options = MotionOptions
    options: MotionOptions
    schema = pa.schema(
        [
            column("scene_index", pa.int32(), "0-based position of the shot in the source, as in `scenes`"),
            column("start_seconds", pa.float64(), "time of its first frame since the presentation's start"),
            column("end_seconds", pa.float64(), "its end, exclusive"),
            column(
                "amount",
                pa.float32(),
                "how much moves: mean speed of what is seen, in long sides of the picture per second, >= 0, "
                "whether it moves or the camera; null where less than two looks fall in the shot, or no two "
                "of them can be compared",
                nullable=True,
            ),
            column(
                "camera_speed", pa.float32(), "the part of the camera in it; null likewise", nullable=True
            ),
            column(
                "own_speed",
                pa.float32(),
                "mean speed of what is seen less the camera's: of people and things; null likewise",
                nullable=True,
            ),
            column(
                "kind",
                pa.dictionary(pa.int32(), pa.string()),
                "what the camera does most: pan, tilt, zoom or roll; handheld where it trembles and goes "
                "nowhere; static; null likewise",
                nullable=True,
            ),
            column(
                "direction",
                pa.dictionary(pa.int32(), pa.string()),
                "of the camera: left or right, up or down, in or out, clockwise or counterclockwise; null of "
                "static and handheld, and where it goes there and back",
                nullable=True,
            ),
            column(
                "pan", pa.float32(), "way of the camera to the right, in long sides, in all; null likewise",
                nullable=True,
            ),
            column("tilt", pa.float32(), "the same, up", nullable=True),
            column(
                "zoom", pa.float32(), "factor by which what is seen grew over the shot, > 0; null likewise",
                nullable=True,
            ),
            column(
                "roll_degrees", pa.float32(), "by how much the camera turned clockwise; null likewise",
                nullable=True,
            ),
            column(
                "shake",
                pa.float32(),
                "trembling: median of how far the camera's speed is from its running mean, in long sides per "
                "second, >= 0; null likewise",
                nullable=True,
            ),
            column(
                "known_share", pa.float32(), "share of its length of which all this could be told, 0..1"
            ),
        ]
    )  # fmt: skip

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        shots = upstream["scenes"].sort_by("scene_index").to_pylist()
        steps = _Steps.of(upstream["camera_steps"].sort_by("frame_index"))
        fades = [*(shot["transition"] in ("fade", "dissolve") for shot in shots), False]
        rows = []
        for shot, begins, ends in zip(shots, fades, fades[1:], strict=False):
            own = steps.inside(shot, begins, ends)
            told = {name: shot[name] for name in ("scene_index", "start_seconds", "end_seconds")}
            rows.append({**told, **_motion(own, self.options)})
        return pa.Table.from_pylist(rows, self.schema)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps between looks, by time.

    Attributes:
        frame: int64 [n], of the look before. until: likewise, of the look. start, end: float64 [n], seconds.
        camera: float64 [n, 4], what the camera did, as in `MOVES`: long sides, long sides, logarithm of a
            factor, degrees; not finite where it is not known.
        weight: float64 [n], 0..1, how much of the picture says so.
        movement, own: float64 [n], long sides.
    """

    frame: Float64Array
    until: Float64Array
    start: Float64Array
    end: Float64Array
    camera: Float64Array
    weight: Float64Array
    movement: Float64Array
    own: Float64Array

    @classmethod
    def of(cls, rows: pa.Table) -> _Steps:
        columns = {name: rows[name].to_numpy().astype(np.float64) for name in rows.column_names}
        shift_x, shift_y, scale, roll, movement, own, weight = (
            columns[name][1:]
            for name in ("shift_x", "shift_y", "scale", "roll_degrees", "movement", "own_movement", "tracked")
        )
        camera = np.stack([-shift_x, shift_y, np.log(scale), -roll], axis=1)
        frame, seconds = columns["frame_index"], columns["pts_seconds"]
        return cls(frame[:-1], frame[1:], seconds[:-1], seconds[1:], camera, weight, movement, own)

    def inside(self, shot: Mapping[str, Any], begins: bool, ends: bool) -> _Steps:
        """Those within a shot, and away from fades at its ends where that leaves any."""
        within = (
            (self.frame >= shot["start_frame"]) & (self.until < shot["end_frame"]) & (self.end > self.start)
        )
        settles = shot["start_seconds"] + _FADE_SECONDS * begins
        unsettles = shot["end_seconds"] - _FADE_SECONDS * ends
        clear = within & (self.start >= settles) & (self.end <= unsettles)
        return self._those(clear if clear.any() else within)

    def known(self) -> _Steps:
        return self._those(self.weight > 0)

    def _those(self, chosen: BoolArray) -> _Steps:
        return _Steps(*(getattr(self, name)[chosen] for name in self.__slots__))


def _motion(steps: _Steps, options: MotionOptions) -> dict[str, Any]:
    """The columns of one shot but for its place."""
    total = float((steps.end - steps.start).sum())
    steps = steps.known()
    gaps = steps.end - steps.start
    if not len(gaps):
        return {"known_share": 0.0}
    # Growth and turning as the way of a picture's parts, so that all four compare.
    speeds = steps.camera * [1.0, 1.0, _REACH, np.radians(_REACH)] / gaps[:, None]
    smooth = _smoothed(speeds, steps)
    weights, sure = (each / each.sum() for each in (steps.weight * gaps, steps.weight**2 * gaps))
    shake = _median(np.linalg.norm(speeds - smooth, axis=1), weights)
    kind, direction = _kind(smooth, weights, float(gaps.sum()), shake, options)
    pan, tilt, growth, roll = (sure @ (steps.camera / gaps[:, None]) * gaps.sum()).tolist()
    return {
        "amount": steps.movement.sum() / gaps.sum(),
        "camera_speed": sure @ np.linalg.norm(speeds, axis=1),
        "own_speed": steps.own.sum() / gaps.sum(),
        "kind": kind,
        "direction": direction,
        "pan": pan,
        "tilt": tilt,
        "zoom": np.exp(growth),
        "roll_degrees": roll,
        "shake": shake,
        "known_share": min(1.0, gaps.sum() / total),
    }


def _smoothed(speeds: Float64Array, steps: _Steps) -> Float64Array:
    """Running means over time, float64 [n, 4], of steps that count as much as is known of them."""
    middle = (steps.start + steps.end) / 2
    counts = running_mean(steps.weight, middle, _SMOOTH_SECONDS)
    means = [running_mean(each * steps.weight, middle, _SMOOTH_SECONDS) / counts for each in speeds.T]
    return np.stack(means, axis=1)


def _median(values: Float64Array, weights: Float64Array) -> float:
    """Weighted, of values whose weights sum to 1: single steps that were measured wrong do not matter."""
    order = values.argsort()
    return float(values[order][np.searchsorted(weights[order].cumsum(), 0.5 - 1e-9)])


def _kind(
    speeds: Float64Array, weights: Float64Array, seconds: float, shake: float, options: MotionOptions
) -> tuple[str, str | None]:
    """What the camera does, and which way.

    Args:
        speeds: float64 [n, 4], smoothed, in the order of `MOVES`. weights: float64 [n], share of each step.
        seconds: length of all.
    """
    moving = weights[np.linalg.norm(speeds, axis=1) >= options.move].sum()
    travels = (np.abs(speeds) * weights[:, None]).sum(axis=0)
    nets = (speeds * weights[:, None]).sum(axis=0)
    first = int(travels.argmax())
    travel, net = float(travels[first]), float(nets[first])
    if moving < _LEAST_MOVING or travel * seconds < _LEAST_WAY or shake >= max(abs(net), travel * _MEANT):
        return "handheld" if shake >= options.shake else "static", None
    name, (more, less) = list(MOVES.items())[first]
    return name, None if abs(net) < _LEAST_NET * travel else more if net > 0 else less
