"""Cases that come out wrong still; each is taken off here by the change that mends it."""

from __future__ import annotations

# Names of cases, which begin with the kind of fault. Their tests must fail: what passes is to be taken off.
PENDING = frozenset(
    {
        "clock-restart-video/joined_ts_clock_restarts.ts-media+frames+scenes-all",
        "clock-restart-video/joined_ts_clock_restarts.ts-media+frames-keyframes",
        "clock-restart-video/joined_ts_jump_back.ts-media+frames+scenes-all",
        "clock-restart-video/joined_ts_with_sound.ts-media+frames+scenes+audio_levels-all",
        "clock-restart-video/joined_ts_same_twice.ts-media+frames+scenes-all",
        "length-video/one_frame_held_10_s.mp4-media+frames+scenes-all",
        "length-video/one_frame.gif-media+frames-all",
        "length-video/one_frame_8k.mp4-media+frames-all",
        "length-video/still_with_sound_8_s.mkv-media+frames+scenes+audio_levels-all",
        "length-video/still_with_sound_8_s.mp4-media+frames+scenes+audio_levels-all",
        "length-video/picture_3_s_sound_6_s.mkv-media+frames+scenes+audio_levels-all",
        "length-video/picture_3_s_sound_6_s.webm-media+frames+scenes+audio_levels-all",
        "length-audio/one_picture_long_sound.mkv-media+frames+scenes+audio_levels-all",
        "length-audio/mp3_vbr_without_header.mp3-media+audio_levels-all",
        "length-audio/joined_ogg.ogg-media+speech+transcript+audio_levels-all",
        "cut-short-video/avi_cut.avi-media+frames+scenes-all",
        "cut-short-video/avi_cut_with_sound.avi-media+frames+scenes+audio_levels-all",
        "cut-short-video/fragmented_cut_in_box.mp4-media+frames+scenes-all",
        "empty-sampling-video/trimmed_by_stream_copy.mp4-media+frames-keyframes",
        "missing-timestamps-video/hevc_cut_at_open_gop.mkv-media+frames+scenes-all",
        "hidden-pictures-video/vp8_hidden_pictures.webm-media+frames+scenes-all",
        "lost-pictures-hostile/key_frames_lost_2_of_3.mp4-media+frames-keyframes",
        "lost-pictures-hostile/bits_flipped.mp4-media+frames-all",
        "deadline-hostile/sound_gaps_of_4_hours.mkv-media+audio_levels-all",
        "deadline-hostile/20_million_packets.mp4-media+frames-all",
        "uri-audio/wav_from_pipe.wav-media-all",
        # The file itself holds line ends where its path had a backslash and an n: no reader finds them again.
        "subtitles-audio/subtitle_odd_text.mkv-media+transcript-all",
        "subtitles-hostile/subtitle_at_100_hours.mkv-media+frames+transcript-all",
        "row-ends-audio/cut_in_word_2.flac-media+speech+transcript-all",
        "row-ends-audio/cut_in_word_3.flac-media+speech+transcript-all",
    }
)
