"""Operations on sound: levels, beats, speech, transcripts, speakers, sound events."""
