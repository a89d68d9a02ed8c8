"""Operations on consecutive pictures: shot boundaries, and stretches by motion."""
