"""The beats of the sound, and their tempo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ops.beat_tracking import (
    _RANGE_DB,
    BLOCK,
    FRAME,
    FRAMES_PER_SECOND,
    HOP,
    SAMPLE_RATE,
    band_levels,
    estimate_period,
    flux,
    sharpen,
    track_beats,
)
