"""How well scenes are found: ours (exact, fast) and PySceneDetect's (content, adaptive), defaults all round.

    python -m benchmarks.scene_accuracy FOLDER_WITH_MEDIA [--seeds N]

The set: files of the folder whose boundaries were labelled by eye, and clips rendered from its footage with
known cuts, dissolves and fades and with flashes and fast pans as distractors, by libx264's defaults. Other
seeds than those the thresholds were set on can be asked for with --first-seed. A boundary counts as found
by a detection at most one frame off; for a dissolve any frame of the mix is right, for every detector
alike. The first scene's start is nobody's merit and left out. Standard output gets the table; its last
lines sum by group: files, clips joined by cuts alone, and clips of every kind of transition.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from framemill.ops.shots.scenes import Scenes, ScenesOptions
from tests.ops.shots.scene_clips import (
    FOOTAGE,
    LABELLED,
    Boundary,
    compose,
    decoded_share,
    encode,
    f1_score,
    load_footage,
    match,
    read_index,
    read_signals,
    run_op,
)

DETECTORS = ("exact", "fast", "content", "adaptive")
GROUPS = (("cuts", ("cut",)), ("mixed", ("cut", "cut", "cut", "dissolve", "fade")))
Counts = tuple[int, int, int]


def ours(path: Path, mode: str) -> tuple[list[int], float]:
    """Starts of all scenes but the first, and the share of frames that had to be decoded."""
    index = read_index(path)
    op = Scenes(ScenesOptions(mode=mode), {})
    chosen = op.select(index)
    rows = run_op(op, index, read_signals(path, index, chosen))
    return [row["start_frame"] for row in rows[1:]], decoded_share(index, chosen)


def theirs(path: Path, detector: str) -> list[int]:
    """The same from PySceneDetect."""
    from scenedetect import AdaptiveDetector, ContentDetector, detect

    scenes = detect(str(path), ContentDetector() if detector == "content" else AdaptiveDetector())
    return [start.frame_num for start, _ in scenes[1:]]


def clips(
    media: Path, work: Path, first_seed: int, num_seeds: int
) -> Iterator[tuple[str, Path, list[Boundary]]]:
    """(group, file, boundaries): labelled files first, then rendered clips."""
    for name, truth in LABELLED.items():
        if (media / name).exists():
            yield "files", media / name, list(truth)
        else:
            print(f"skipped: {name} is not in {media}", file=sys.stderr)
    absent = [name for name in FOOTAGE if not (media / name).exists()]
    if absent:
        print(f"skipped: rendered clips, since {media} lacks {', '.join(absent)}", file=sys.stderr)
        return
    shots = load_footage(media)
    for group, kinds in GROUPS:
        for seed in range(first_seed, first_seed + num_seeds):
            frames, truth = compose(shots, 14, seed, kinds)
            path = work / f"{group}_{seed}.mp4"
            encode(path, frames)
            yield group, path, truth


def main() -> None:
    parser = argparse.ArgumentParser(description="F1 of scene boundaries at one frame's tolerance")
    parser.add_argument(
        "media", type=Path, help="folder with the videos named in tests/ops/shots/scene_clips.py"
    )
    parser.add_argument("--seeds", type=int, default=6, help="rendered clips per group (default 6)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first rendered clip")
    asked = parser.parse_args()
    if (asked.media / "video").is_dir():
        asked.media = asked.media / "video"
    totals: dict[str, dict[str, Counts]] = {}
    print(f"{'clip':38}{'truth':>6}" + "".join(f"{name:>10}" for name in DETECTORS) + f"{'decoded':>10}")
    with tempfile.TemporaryDirectory() as work:
        for group, path, truth in clips(asked.media, Path(work), asked.first_seed, asked.seeds):
            decoded = 1.0
            line = f"{path.name:38}{len(truth):6}"
            for detector in DETECTORS:
                if detector in ("exact", "fast"):
                    found, share = ours(path, detector)
                else:
                    found = theirs(path, detector)
                counts = match(found, truth)
                line += f"{f1_score(*counts):10.3f}"
                for name in (group, "all"):
                    old = totals.setdefault(name, {}).get(detector, (0, 0, 0))
                    totals[name][detector] = (old[0] + counts[0], old[1] + counts[1], old[2] + counts[2])
                if detector == "fast":
                    decoded = share
            print(f"{line}{decoded:10.2f}", flush=True)
    for name, by_detector in totals.items():
        print(f"\n{name}")
        for detector, (hits, false_alarms, misses) in by_detector.items():
            score = f1_score(hits, false_alarms, misses)
            print(f"  {detector:10} F1 {score:.3f}  found {hits}  false {false_alarms}  missed {misses}")


if __name__ == "__main__":
    main()
