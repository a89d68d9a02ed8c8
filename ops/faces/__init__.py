"""Operations on faces: detection, emotions, embeddings, quality."""
