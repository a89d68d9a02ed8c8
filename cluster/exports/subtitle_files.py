"""SubRip, WebVTT and Advanced SubStation Alpha.

Text from media stays text: no line of it can end a cue or open a tag.
"""

from __future__ import annotations

import re

from framemill.cluster.exports.cues import in_brackets
from framemill.cluster.exports.line_breaks import direction
from framemill.cluster.exports.tracks import Track
from framemill.errors import UsageError

_HOUR_MS = 3_600_000
_VTT_SIGNS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# ASS has no way to write a brace that all readers know; the full-width ones look alike and open no tag.
_ASS_SIGNS = str.maketrans({"{": "\uff5b", "}": "\uff5d"})
# Something that does not show, behind a character that would begin a tag: in ASS each backslash; in SubRip,
# which has no way to write that, those of <b, {\an8 and \N, as players read them.
_WORD_JOINER = "\u2060"
_SRT_TAG = re.compile(r"<(?=[A-Za-z/])|\{(?=\\)|\\(?=[Nnh])")

# A style that is read at any size: white with a black edge, in a picture of 1080 lines, where 42 characters
# take about two thirds of the width.
_ASS_HEAD = """[Script Info]
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
YCbCr Matrix: None
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,64,&H00FFFFFF,&H000000FF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,\
96,96,54,{encoding}

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def write_srt(track: Track) -> str:
    """SubRip; the speaker in square brackets before the text.

    Raises:
        UsageError: something is shown after 100 hours, which its clock cannot tell.
    """
    blocks = []
    for number, cue in enumerate(track.cues(with_speakers=True), 1):
        if cue.end_ms >= 100 * _HOUR_MS:
            raise UsageError(
                f"the clock of SubRip ends at 99:59:59,999 and {track.uris[0]} has text at "
                f"{cue.end_ms / 1000:.0f} seconds: export it as vtt or json"
            )
        lines = [_SRT_TAG.sub(rf"\g<0>{_WORD_JOINER}", line.replace("-->", "->")) for line in cue.lines]
        if cue.speaker:
            lines[0] = in_brackets(cue.speaker, lines[0])
        times = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
        blocks.append("\n".join([str(number), times, *lines, ""]))
    return "\n".join(blocks)


def write_vtt(track: Track) -> str:
    """WebVTT; the speaker as the cue's voice."""
    blocks = []
    for cue in track.cues():
        lines = [line.replace("-->", "->").translate(_VTT_SIGNS) for line in cue.lines]
        if cue.speaker:
            lines[0] = f"<v {cue.speaker}>{lines[0]}"
        blocks.append(
            "\n".join(["", f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}", *lines, ""])
        )
    return "WEBVTT\n" + "".join(blocks) if blocks else ""


def write_ass(track: Track) -> str:
    """Advanced SubStation Alpha v4+; the speaker as the name of the event's actor."""
    events, is_leftward = [], 0
    for cue in track.cues():
        # Its clock counts hundredths.
        start, end = round(cue.start_ms / 10), round(cue.end_ms / 10)
        text = "\\N".join(_ass_text(line) for line in cue.lines)
        is_leftward += 1 if direction(text) == "R" else -1
        times = f"{_ass_clock(start)},{_ass_clock(max(end, start + 1))}"
        events.append(f"Dialogue: 0,{times},Default,{cue.speaker},0,0,0,,{text}\n")
    # In libass -1 takes the direction from the text, and 1 is from left to right.
    return _ASS_HEAD.format(encoding=-1 if is_leftward > 0 else 1) + "".join(events) if events else ""


def _ass_text(line: str) -> str:
    return line.translate(_ASS_SIGNS).replace("\\", "\\" + _WORD_JOINER)


def _ass_clock(hundredths: int) -> str:
    seconds, rest = divmod(hundredths, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:02}"


def _clock(milliseconds: int, point: str) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
