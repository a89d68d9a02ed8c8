"""Operations on how pictures follow one another: shot boundaries and stretches."""
