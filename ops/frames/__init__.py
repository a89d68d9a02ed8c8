"""Operations on sampled frames: pictures themselves, labels, embeddings, measures."""
