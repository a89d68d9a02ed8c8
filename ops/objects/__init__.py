"""Operations that find and follow objects and body poses."""
