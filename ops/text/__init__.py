"""Operations on text on screen, and on the meaning of text."""
