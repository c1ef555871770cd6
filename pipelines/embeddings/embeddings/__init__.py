"""Batch embeddings of receipt lines and words, published as immutable snapshots of a Chroma collection."""
