"""The HNSW index: forecast, build and drop."""
