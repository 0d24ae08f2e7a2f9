"""The k rows nearest to a query: exactly, by codes or through the HNSW index."""
