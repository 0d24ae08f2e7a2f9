"""The HNSW index: what it takes, building it, dropping it."""
